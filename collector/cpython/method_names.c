/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * See method_names.h. First all words of data that are pointers: of a file that is loaded anywhere its relative relocations say
 * them, of one with a fixed place the data itself. Then each that begins a PyMethodDef; a run of those is a table. What points
 * to a table owns it, if a name lies where PyTypeObject, PyModuleDef or PyType_Spec has one (Include/cpython/object.h,
 * moduleobject.h and object.h, the same from 3.8 to 3.14).
 */
#include "method_names.h"

#include <ctype.h>
#include <elf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WORDS_MAX (1u << 22)
#define METHODS_MAX (1u << 15)
#define SECTION_MAX (64u << 20)
#define NAME_MAX_LEN 60

/* struct PyMethodDef */
#define DEF_SIZE 32
#define DEF_METH 8
#define DEF_FLAGS 16

/* From the pointer to the table back to that to the name. */
#define TYPE_NAME_BACK (232 - 24)  /* PyTypeObject.tp_methods, .tp_name */
#define TYPE_SIZE_BACK (232 - 32)  /* .tp_basicsize, and .tp_itemsize behind it */
#define TYPE_SIZE_MAX (1u << 20)
#define MODULE_NAME_BACK (64 - 40) /* PyModuleDef.m_methods, .m_name */
#define MODULE_BASE_BACK (64 - 16) /* .m_base.m_init, .m_index and .m_copy, which are 0 before it is used */
#define SLOT_SIZE 16               /* PyType_Slot: an int, a pointer */
#define SLOT_METHODS 64            /* Py_tp_methods */
#define SLOT_MAX 100               /* its numbers: Include/typeslots.h */
#define SLOTS_BEFORE 64            /* of a type, before that */
#define SPEC_NAME_BACK 24          /* PyType_Spec.slots, .name */

struct word {
	uint64_t at, value;
};

struct method {
	uint64_t function;
	bool several; /* names: none of them is told */
	char name[METHOD_NAME_SIZE];
};

struct method_names {
	struct method *list; /* by function */
	size_t n;
};

struct table {
	uint64_t at;
	size_t n;
	char owner[METHOD_NAME_SIZE]; /* "": not known */
};

struct scan {
	struct elffile *ef;
	struct word *words; /* by place */
	size_t words_n;
	struct table *tables; /* by place */
	size_t tables_n;
	size_t methods_n;
};

/* ---- words ---- */

static bool add_word(struct scan *s, uint64_t at, uint64_t value)
{
	if (s->words_n >= WORDS_MAX)
		return false;
	if (!(s->words_n & (s->words_n + 1)) || !s->words) { /* doubles */
		struct word *more = reallocarray(s->words, (s->words_n + 1) * 2, sizeof(*more));

		if (!more)
			return false;
		s->words = more;
	}
	s->words[s->words_n++] = (struct word){at, value};
	return true;
}

static void add_relocations(struct scan *s)
{
	uint32_t relative = elffile__machine(s->ef) == EM_AARCH64 ? R_AARCH64_RELATIVE : R_X86_64_RELATIVE;
	size_t len = 0;
	const uint8_t *bytes = elffile__section_bytes(s->ef, ".rela.dyn", SECTION_MAX, &len);

	for (size_t i = 0; bytes && i + sizeof(Elf64_Rela) <= len; i += sizeof(Elf64_Rela)) {
		Elf64_Rela r;

		memcpy(&r, bytes + i, sizeof(r));
		if (elffile__is_spent(s->ef, i))
			return;
		if (ELF64_R_TYPE(r.r_info) == relative && !add_word(s, r.r_offset, (uint64_t)r.r_addend))
			return;
	}
}

/* Whatever is no pointer is found to be none later. */
static void add_section(struct scan *s, const char *name)
{
	struct elf_section section;
	size_t len = 0;
	const uint8_t *bytes = elffile__section_bytes(s->ef, name, SECTION_MAX, &len);

	if (!bytes || elffile__section(s->ef, name, &section) || !section.vaddr)
		return;
	for (size_t i = 0; i + 8 <= len; i += 8) {
		uint64_t value;

		memcpy(&value, bytes + i, 8);
		if (elffile__is_spent(s->ef, i) || (value && !add_word(s, section.vaddr + i, value)))
			return;
	}
}

static int by_place(const void *a, const void *b)
{
	uint64_t x = ((const struct word *)a)->at, y = ((const struct word *)b)->at;

	return (x > y) - (x < y);
}

static void read_words(struct scan *s)
{
	if (elffile__is_relocatable(s->ef)) {
		add_relocations(s);
	} else {
		add_section(s, ".data");
		add_section(s, ".data.rel.ro");
		add_section(s, ".PyRuntime");
	}
	if (s->words_n)
		qsort(s->words, s->words_n, sizeof(*s->words), by_place);
}

/* The pointer there; 0: there is none. */
static uint64_t pointer_at(const struct scan *s, uint64_t at)
{
	struct word key = {.at = at};
	const struct word *w = s->words_n ? bsearch(&key, s->words, s->words_n, sizeof(key), by_place) : NULL;

	return w ? w->value : 0;
}

/* ---- names ---- */

/* A name as Python has them, of several parts if `dotted`. false: it is none. */
static bool read_name(const struct scan *s, uint64_t at, bool dotted, char name[NAME_MAX_LEN + 1])
{
	size_t n = 0;

	for (; n <= NAME_MAX_LEN; n++) {
		const uint8_t *c = elffile__bytes(s->ef, at + n, 1);

		if (!c)
			return false;
		name[n] = (char)*c;
		if (!*c)
			break;
		if (!isalnum(*c) && *c != '_' && !(dotted && *c == '.' && n))
			return false;
	}
	return n && n <= NAME_MAX_LEN && !isdigit((unsigned char)name[0]);
}

/* ---- methods ---- */

static bool are_flags(uint64_t flags)
{
	switch (flags & ~0x70ull) { /* METH_CLASS, METH_STATIC, METH_COEXIST */
	case 0x1: case 0x3: case 0x4: case 0x8: case 0x80: case 0x82: case 0x282: /* Include/methodobject.h */
		return true;
	}
	return false;
}

static uint64_t plain_at(const struct scan *s, uint64_t at)
{
	const uint8_t *bytes = elffile__bytes(s->ef, at, 8);
	uint64_t value = UINT64_MAX;

	if (bytes)
		memcpy(&value, bytes, 8);
	return value;
}

static bool is_method(const struct scan *s, uint64_t at, char name[NAME_MAX_LEN + 1])
{
	uint64_t function = pointer_at(s, at + DEF_METH);
	struct elf_range extent;

	return function && are_flags(plain_at(s, at + DEF_FLAGS)) && read_name(s, pointer_at(s, at), false, name) &&
	       elffile__function_at(s->ef, function, &extent) == 0 && extent.start == function;
}

/* Words are in order: what begins no method ends a table. */
static void find_tables(struct scan *s)
{
	char name[NAME_MAX_LEN + 1];

	for (size_t i = 0; i < s->words_n && s->methods_n < METHODS_MAX && !elffile__is_spent(s->ef, i); i++) {
		struct table *last = s->tables_n ? &s->tables[s->tables_n - 1] : NULL, *more;

		if (!is_method(s, s->words[i].at, name))
			continue;
		s->methods_n++;
		if (last && last->at + last->n * DEF_SIZE == s->words[i].at) {
			last->n++;
			continue;
		}
		more = reallocarray(s->tables, s->tables_n + 1, sizeof(*more));
		if (!more)
			return;
		s->tables = more;
		s->tables[s->tables_n++] = (struct table){.at = s->words[i].at, .n = 1};
	}
}

/* ---- owners ---- */

static int compare_table(const void *key, const void *table)
{
	uint64_t at = *(const uint64_t *)key, t = ((const struct table *)table)->at;

	return (at > t) - (at < t);
}

/* Of a type that is made of slots: what points to the first of them is its description. */
static uint64_t first_slot(const struct scan *s, uint64_t slot)
{
	for (int i = 0; i < SLOTS_BEFORE; i++) {
		uint64_t number = plain_at(s, slot - SLOT_SIZE) & UINT32_MAX;

		if (!number || number > SLOT_MAX || !pointer_at(s, slot - SLOT_SIZE + 8))
			break;
		slot -= SLOT_SIZE;
	}
	return slot;
}

static bool name_by_spec(const struct scan *s, uint64_t slot, char name[NAME_MAX_LEN + 1])
{
	uint64_t first = first_slot(s, slot);

	for (size_t i = 0; i < s->words_n && !elffile__is_spent(s->ef, i); i++)
		if (s->words[i].value == first && read_name(s, pointer_at(s, s->words[i].at - SPEC_NAME_BACK), true, name))
			return true;
	return false;
}

static bool name_by_module(const struct scan *s, uint64_t at, char name[NAME_MAX_LEN + 1])
{
	for (uint64_t back = MODULE_BASE_BACK; back > MODULE_NAME_BACK; back -= 8)
		if (plain_at(s, at - back) != 0)
			return false;
	return read_name(s, pointer_at(s, at - MODULE_NAME_BACK), true, name);
}

static bool name_by_type(const struct scan *s, uint64_t at, char name[NAME_MAX_LEN + 1])
{
	uint64_t size = plain_at(s, at - TYPE_SIZE_BACK), item = plain_at(s, at - TYPE_SIZE_BACK + 8);

	return size >= 16 && size <= TYPE_SIZE_MAX && item <= TYPE_SIZE_MAX &&
	       read_name(s, pointer_at(s, at - TYPE_NAME_BACK), true, name);
}

static void note_owner(struct scan *s, const struct word *w)
{
	struct table *t = s->tables_n ? bsearch(&w->value, s->tables, s->tables_n, sizeof(*t), compare_table) : NULL;
	char name[NAME_MAX_LEN + 1];

	if (!t || t->owner[0])
		return;
	if (name_by_module(s, w->at, name) || name_by_type(s, w->at, name) ||
	    ((plain_at(s, w->at - 8) & UINT32_MAX) == SLOT_METHODS && name_by_spec(s, w->at - 8, name)))
		snprintf(t->owner, sizeof(t->owner), "%s", name);
}

/* ---- the whole ---- */

static int by_function(const void *a_, const void *b_)
{
	const struct method *a = a_, *b = b_;

	return (a->function > b->function) - (a->function < b->function);
}

static void add_methods(const struct scan *s, struct method_names *m, const struct table *t)
{
	char name[NAME_MAX_LEN + 1];

	for (size_t i = 0; i < t->n && m->n < s->methods_n; i++) {
		struct method *one = &m->list[m->n];

		if (!is_method(s, t->at + i * DEF_SIZE, name))
			return;
		one->function = pointer_at(s, t->at + i * DEF_SIZE + DEF_METH);
		snprintf(one->name, sizeof(one->name), "%s%s%s", t->owner, t->owner[0] ? "." : "", name);
		m->n++;
	}
}

/* One function under several names has none. */
static void merge(struct method_names *m)
{
	size_t kept = 0;

	if (m->n)
		qsort(m->list, m->n, sizeof(*m->list), by_function);
	for (size_t i = 0; i < m->n; i++) {
		struct method *last = kept ? &m->list[kept - 1] : NULL;

		if (last && last->function == m->list[i].function)
			last->several |= strcmp(last->name, m->list[i].name) != 0;
		else
			m->list[kept++] = m->list[i];
	}
	m->n = kept;
}

struct method_names *method_names__new(struct elffile *ef)
{
	struct method_names *m = calloc(1, sizeof(*m));
	struct scan s = {.ef = ef};

	read_words(&s);
	find_tables(&s);
	for (size_t i = 0; i < s.words_n && !elffile__is_spent(ef, i); i++)
		note_owner(&s, &s.words[i]);
	if (m)
		m->list = calloc(s.methods_n + 1, sizeof(*m->list));
	for (size_t i = 0; m && m->list && i < s.tables_n; i++)
		add_methods(&s, m, &s.tables[i]);
	if (m && m->list)
		merge(m);
	free(s.tables);
	free(s.words);
	return m;
}

void method_names__free(struct method_names *m)
{
	if (!m)
		return;
	free(m->list);
	free(m);
}

const char *method_names__at(const struct method_names *m, uint64_t vaddr)
{
	struct method key = {.function = vaddr};
	const struct method *found = m->n ? bsearch(&key, m->list, m->n, sizeof(key), by_function) : NULL;

	return found && !found->several ? found->name : NULL;
}
