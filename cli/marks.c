/* SPDX-License-Identifier: GPL-2.0-only */
/* See marks.h. */
#include "marks.h"

#include <time.h>

#include "human.h"
#include "out.h"

static void print_one(FILE *to, const struct schema_mark *m)
{
	time_t t = (time_t)(m->t_ms / 1000);
	char when[32] = "?", count[HUMAN_SIZE];
	struct tm tm;

	if (localtime_r(&t, &tm))
		strftime(when, sizeof(when), "%Y-%m-%d %H:%M:%S", &tm);
	fprintf(to, "  %s  %s", when, m->text);
	if (m->count_name[0])
		fprintf(to, "  (%s %s)", m->count_name, human__grouped(count, (uint64_t)m->count));
	fprintf(to, "%s\n", m->of_process ? "" : "  (all processes)");
}

void marks__print(FILE *to, const struct schema_mark *list, size_t n)
{
	if (n)
		fputs("Marks:\n", to);
	for (size_t i = 0; i < n; i++)
		print_one(to, &list[i]);
}

json_t *marks__json(const struct schema_mark *list, size_t n)
{
	json_t *marks = json_array();

	for (size_t i = 0; marks && i < n; i++) {
		json_t *one = json_pack("{s:I, s:s, s:b}", "t", (json_int_t)list[i].t_ms, "text", list[i].text, "all",
					(int)!list[i].of_process);

		if (one && list[i].count_name[0])
			json_object_set_new(one, "count", json_pack("{s:o}", list[i].count_name, out__json_num(list[i].count)));
		json_array_append_new(marks, one);
	}
	return marks;
}
