/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Names and command lines from outside: whatever bytes go in, what comes out fits, ends, and holds no
 * control character; cleaning it again changes nothing.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "../../collector/text.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void expect(int truth)
{
	if (!truth)
		abort();
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
	return 0;
}
