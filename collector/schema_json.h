/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * JSON of members, shared by the schema's own files only. Objects keep the order in which they are filled, and
 * reals have few digits: a member is a function of the data. A NULL json_t stands for "no memory" throughout.
 */
#ifndef GILSCOPE_SCHEMA_JSON_H
#define GILSCOPE_SCHEMA_JSON_H

#include <jansson.h>

#include "schema.h"

#define SCHEMA_DIGITS 4 /* significant ones of a ratio */

/* An integer if it is one. */
json_t *schema_json__number(double value);

/* Object of a row's fields, without histograms. */
json_t *schema_json__fields(const struct schema_row *row);

/* Compact text; takes the reference. The caller's to free. */
char *schema_json__text(json_t *json, size_t *ret_len);

/* FIELD_COUNT fields in the order in which this row writes them. */
const uint8_t *schema_row__order(const struct schema_row *row);

#endif
