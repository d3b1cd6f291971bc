/* SPDX-License-Identifier: GPL-2.0-only */
/* See browser.h. */
#include "browser.h"

#include <criterion/criterion.h>
#include <png.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "program.h"
#include "pythons.h"

#define WINDOW_FRAME 200 /* of a window's height that the page does not get */
#define SAME 3           /* of 255: edges are smoothed, colours rounded */

/* ---- running it ---- */

void browser__require(void)
{
	struct program p;
	bool there;

	program__run(&p, "command -v chromium");
	there = p.status == 0;
	program__free(&p);
	if (!there)
		cr_skip_test("chromium is not installed");
}

/* What a page's script can't do it says on standard error. */
static void expect_no_complaint(const char *log)
{
	size_t len;
	char *said = must_read(log, &len), *complaint = strstr(said, ":CONSOLE");

	cr_expect_null(complaint, "%.*s", complaint ? (int)strcspn(complaint, "\n") : 0, complaint ? complaint : "");
	free(said);
}

static void show(const char *dir, const char *file, const char *script, const struct browser_window *w)
{
	char log[128], here[4096];

	cr_assert_not_null(getcwd(here, sizeof(here)));
	must_run("HOME=%s timeout -k 5 100 chromium --headless=new --no-sandbox --disable-gpu --hide-scrollbars --no-first-run "
		 "--user-data-dir=%s/profile --window-size=%d,%d --force-device-scale-factor=1 --allow-file-access-from-files "
		 "--disable-background-networking --host-resolver-rules='MAP * ~NOTFOUND' "
		 "--blink-settings=preferredColorScheme=%d --enable-logging=stderr --screenshot=%s/picture.png --dump-dom "
		 "'file://%s/tests/browser/look.html#file://%s&%s' >%s/dom 2>%s/log",
		 dir, dir, w->width, w->height + WINDOW_FRAME, !w->dark, dir, here, file, script, dir, dir);
	snprintf(log, sizeof(log), "%s/log", dir);
	expect_no_complaint(log);
}

/* ---- what the script said ---- */

static int digit(char c)
{
	const char *digits = "0123456789ABCDEF", *at = c ? strchr(digits, c) : NULL;

	return at ? (int)(at - digits) : -1;
}

/* As JavaScript's decodeURIComponent(), in place. */
static void decode(char *text)
{
	char *to = text;

	while (*text) {
		if (text[0] == '%' && digit(text[1]) >= 0 && digit(text[2]) >= 0) {
			*to++ = (char)(digit(text[1]) * 16 + digit(text[2]));
			text += 3;
		} else {
			*to++ = *text++;
		}
	}
	*to = '\0';
}

static json_t *what_it_said(const char *dir)
{
	char path[128], *dom, *said;
	json_error_t error;
	json_t *json;
	size_t len;

	snprintf(path, sizeof(path), "%s/dom", dir);
	dom = must_read(path, &len);
	said = strstr(dom, "data-said=\"");
	cr_assert_not_null(said, "the script has said nothing");
	said += strlen("data-said=\"");
	said[strcspn(said, "\"")] = '\0';
	decode(said);
	json = json_loads(said, 0, &error);
	cr_assert_not_null(json, "%s: %s", error.text, said);
	free(dom);
	return json;
}

/* ---- the picture ---- */

static uint8_t *read_picture(const char *dir, png_image *picture)
{
	char path[128];
	uint8_t *rgb;

	snprintf(path, sizeof(path), "%s/picture.png", dir);
	*picture = (png_image){.version = PNG_IMAGE_VERSION};
	cr_assert(png_image_begin_read_from_file(picture, path), "%s", picture->message);
	picture->format = PNG_FORMAT_RGB;
	rgb = malloc(PNG_IMAGE_SIZE(*picture));
	cr_assert_not_null(rgb);
	cr_assert(png_image_finish_read(picture, NULL, rgb, 0, NULL), "%s", picture->message);
	return rgb;
}

static void expect_pixel(const png_image *picture, const uint8_t *rgb, const json_t *pixel)
{
	json_int_t want[5];
	const uint8_t *got;

	for (size_t i = 0; i < 5; i++)
		want[i] = json_integer_value(json_array_get(pixel, i));
	cr_assert(want[0] >= 0 && want[0] < picture->width && want[1] >= 0 && want[1] < picture->height,
		  "%lld, %lld is not on the picture", (long long)want[0], (long long)want[1]);
	got = rgb + 3 * (want[1] * picture->width + want[0]);
	for (size_t i = 0; i < 3; i++)
		cr_expect(llabs(got[i] - (long long)want[2 + i]) <= SAME, "at %lld, %lld is %d %d %d, not %lld %lld %lld",
			  (long long)want[0], (long long)want[1], got[0], got[1], got[2], (long long)want[2],
			  (long long)want[3], (long long)want[4]);
}

static void compare_picture(const char *dir, const json_t *pixels)
{
	png_image picture;
	uint8_t *rgb = read_picture(dir, &picture);
	json_t *pixel;
	size_t i;

	cr_assert_gt(json_array_size(pixels), 0, "nothing to be seen");
	json_array_foreach (pixels, i, pixel)
		expect_pixel(&picture, rgb, pixel);
	free(rgb);
}

json_t *browser__look(const char *file, const char *script, const struct browser_window *window)
{
	char dir[64];
	json_t *said;

	temp_dir__make(dir, sizeof(dir));
	show(dir, file, script, window);
	said = what_it_said(dir);
	compare_picture(dir, json_object_get(said, "pixels"));
	temp_dir__remove(dir);
	return said;
}
