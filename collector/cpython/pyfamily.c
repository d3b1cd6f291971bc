/* SPDX-License-Identifier: GPL-2.0-only */
#include "pyfamily.h"

#include <stddef.h>

/* In their order. */
static const struct pyfamily *const families[] = {
	&pyfamily__3_08, &pyfamily__3_10, &pyfamily__3_11, &pyfamily__3_12, &pyfamily__3_13, &pyfamily__3_14, &pyfamily__3_15,
};
#define FAMILIES (sizeof(families) / sizeof(families[0]))

const struct pyfamily *pyfamily__of(int minor)
{
	for (size_t i = 0; i < FAMILIES; i++)
		if (minor >= families[i]->first && minor <= families[i]->last)
			return families[i];
	return NULL;
}

const struct pyfamily *pyfamily__of_offsets(const struct pyoffsets *off)
{
	const struct pyfamily *family = pyfamily__of((int)off->minor);

	return family ? family : families[FAMILIES - 1];
}

int pyfamily__oldest(void)
{
	return families[0]->first;
}

int pyfamily__newest(void)
{
	return families[FAMILIES - 1]->last;
}
