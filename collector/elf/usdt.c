/* SPDX-License-Identifier: GPL-2.0-only */
/* See usdt.h. */
#include "usdt.h"

#include <elf.h>
#include <stdbool.h>
#include <string.h>

#include "collector/base/bytes.h"

#define OWNER "stapsdt"
#define TYPE 3                  /* NT_STAPSDT */
#define NOTES_BYTES (1u << 20)  /* real interpreters have about 1 KB */
#define ADDRESSES 24            /* three words in front of the names */

struct piece {
	const uint8_t *at;
	size_t len;
};

/* The next note's description, empty if it is nobody's that is asked for; false: there is none. */
static bool next_note(struct piece *rest, struct piece *ret)
{
	uint64_t name_len, len, name_room, room;

	if (rest->len < sizeof(Elf64_Nhdr))
		return false;
	name_len = bytes__u32(rest->at);
	len = bytes__u32(rest->at + 4);
	name_room = (name_len + 3) & ~3ull;
	room = sizeof(Elf64_Nhdr) + name_room + ((len + 3) & ~3ull);
	if (room > rest->len)
		return false;
	*ret = (struct piece){rest->at + sizeof(Elf64_Nhdr) + name_room, len};
	if (bytes__u32(rest->at + 8) != TYPE || name_len != sizeof(OWNER) ||
	    memcmp(rest->at + sizeof(Elf64_Nhdr), OWNER, sizeof(OWNER)) != 0)
		ret->len = 0;
	rest->at += room;
	rest->len -= room;
	return true;
}

/* Whether that string stands at the front; steps behind it. */
static bool takes(struct piece *text, const char *expected)
{
	size_t size = strlen(expected) + 1;

	if (text->len < size || memcmp(text->at, expected, size) != 0)
		return false;
	text->at += size;
	text->len -= size;
	return true;
}

/*
 * The addresses are those of the link. A tool that moved sections since (prelink) has moved .stapsdt.base with them, whose
 * address each note keeps for that.
 */
static uint64_t moved_by(struct elffile *ef, uint64_t base)
{
	struct elf_section section;

	if (elffile__section(ef, ".stapsdt.base", &section) != 0 || !section.vaddr)
		return 0;
	return section.vaddr - base;
}

static bool is_called(struct piece note, const char *provider, const char *name)
{
	struct piece names;

	if (note.len < ADDRESSES)
		return false;
	names = (struct piece){note.at + ADDRESSES, note.len - ADDRESSES};
	return takes(&names, provider) && takes(&names, name);
}

size_t usdt__find(struct elffile *ef, const char *provider, const char *name, struct usdt_note *ret, size_t max)
{
	struct piece rest = {0}, note;
	size_t n = 0;

	rest.at = elffile__section_bytes(ef, ".note.stapsdt", NOTES_BYTES, &rest.len);
	while (rest.at && n < max && next_note(&rest, &note)) {
		uint64_t moved, semaphore;

		if (!is_called(note, provider, name))
			continue;
		moved = moved_by(ef, bytes__u64(note.at + 8));
		semaphore = bytes__u64(note.at + 16);
		ret[n++] = (struct usdt_note){bytes__u64(note.at) + moved, semaphore ? semaphore + moved : 0};
	}
	return n;
}
