/* SPDX-License-Identifier: GPL-2.0-only */
/* See results.h. */
#include "results.h"

#include <criterion/criterion.h>
#include <elf.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "pythons.h"

/* Whether the file has a symbol table beside the one for the dynamic linker. */
static bool has_symbols(const char *path)
{
	size_t len;
	char *bytes = must_read(path, &len);
	const Elf64_Ehdr *head = (const Elf64_Ehdr *)bytes;
	bool found = false;

	for (size_t i = 0; i < head->e_shnum && head->e_shoff + (i + 1) * sizeof(Elf64_Shdr) <= len; i++)
		found |= ((const Elf64_Shdr *)(bytes + head->e_shoff))[i].sh_type == SHT_SYMTAB;
	free(bytes);
	return found;
}

static uint64_t losses(const struct proc_sample *s)
{
	uint64_t sum = 0;

	for (int i = 0; i < GIL_LOSS_COUNT; i++)
		sum += s->lost[i];
	return sum;
}

static void note(const struct interpreter *in, const char *what, const char *method, long long seen, long long truth,
		 uint64_t lost)
{
	const char *path = getenv("GILSCOPE_RESULTS");
	FILE *to = path ? fopen(path, "ae") : NULL;

	if (!path)
		return;
	cr_assert_not_null(to, "%s cannot be written", path);
	fprintf(to, "%s\t%s%s\t%s\t%s\t%s\t%s\t%lld\t%lld\t%" PRIu64 "\n", in->version, in->origin,
		in->stripped ? ", stripped by us" : "", strcmp(in->image, in->exe) == 0 ? "executable" : "libpython",
		has_symbols(in->image) ? "yes" : "no", what, method, seen, truth, lost);
	fclose(to);
}

void results__note(const struct interpreter *in, const char *what, const struct site_plan *plan,
		   const struct proc_sample *totals, long long seen, long long truth)
{
	char method[64];

	snprintf(method, sizeof(method), "%s, %zu sites", plan->method, plan->sites_n);
	note(in, what, method, seen, truth, losses(totals));
}

void results__note_numbers(const struct interpreter *in, const char *what, long long seen, long long truth, uint64_t lost)
{
	note(in, what, "", seen, truth, lost);
}
