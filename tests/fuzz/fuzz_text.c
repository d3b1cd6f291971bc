/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Names and command lines from outside: whatever bytes go in, what comes out fits, ends, and holds no
 * control character; cleaning it again changes nothing. Names of functions the same.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "collector/base/text.h"
#include "collector/stacks/demangle.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void expect(int truth)
{
	if (!truth)
		abort();
}

static void demangle(const uint8_t *data, size_t size)
{
	char symbol[DEMANGLE_RAW_SIZE + 64], name[80], twice[80];
	size_t len = size < sizeof(symbol) ? size : sizeof(symbol) - 1;

	memcpy(symbol, data, len);
	symbol[len] = '\0';
	demangle__name(symbol, name, sizeof(name));
	text__clean(twice, sizeof(twice), name, strlen(name));
	expect(strcmp(name, twice) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char once[64], twice[64];
	size_t room = size > 0 ? 1 + data[0] % sizeof(once) : 1;
	size_t len = text__clean_member(once, room, (const char *)data, size);

	expect(len < room && strlen(once) == len);
	for (size_t i = 0; i < len; i++)
		expect((unsigned char)once[i] >= 0x20 && once[i] != 0x7f && once[i] != '|');
	expect(text__clean(twice, sizeof(twice), once, len) == len && strcmp(once, twice) == 0);
	expect(text__columns(once) <= 2 * len);
	demangle(data, size);
	return 0;
}
