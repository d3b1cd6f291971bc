/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * See flame_svg.h. A tree of frames, children in a list sorted by name. The script moves and hides boxes by the shares that
 * stand in their attributes; it never makes text into markup.
 */
#include "flame_svg.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "collector/base/text.h"
#include "human.h"
#include "markup.h"

#define WIDTH 1200
#define PART_WIDTH 912     /* the page's text: letters keep their size */
#define MARGIN 10
#define BOX_HEIGHT 18
#define HEAD_HEIGHT 44
#define FOOT_HEIGHT 26
#define LETTER_WIDTH 7.4   /* of the font below, rather too much */
#define NARROWEST 0.1      /* px */
#define NAME_SIZE 512

struct frame {
	char *name;            /* cleaned */
	uint64_t weight;       /* with all that stands on it */
	struct frame *next;    /* beside it, by name */
	struct frame *child;   /* the first on it */
	struct frame *latest;  /* the child that was looked up last: stacks come in runs */
};

struct flame {
	struct frame root;
};

struct flame *flame__new(void)
{
	return calloc(1, sizeof(struct flame));
}

/* Deep trees are freed without recursion: the children of a frame go in front of what is still to be freed. */
void flame__free(struct flame *f)
{
	struct frame *todo = f ? f->root.child : NULL;

	while (todo) {
		struct frame *one = todo, **end = &one->child;

		while (*end)
			end = &(*end)->next;
		*end = one->next;
		todo = one->child;
		free(one->name);
		free(one);
	}
	free(f);
}

uint64_t flame__total(const struct flame *f)
{
	return f->root.weight;
}

/* ---- building ---- */

static struct frame *child_of(struct frame *parent, const char *name)
{
	struct frame **at = &parent->child, *fresh;
	int order = 1;

	if (parent->latest && strcmp(parent->latest->name, name) == 0)
		return parent->latest;
	while (*at && (order = strcmp((*at)->name, name)) < 0)
		at = &(*at)->next;
	if (*at && order == 0)
		return parent->latest = *at;
	fresh = calloc(1, sizeof(*fresh));
	if (!fresh)
		return NULL;
	fresh->name = strdup(name);
	if (!fresh->name) {
		free(fresh);
		return NULL;
	}
	fresh->next = *at;
	*at = fresh;
	return parent->latest = fresh;
}

int flame__add(struct flame *f, const char *stack, uint64_t weight)
{
	size_t len = strlen(stack);
	struct frame *path[FLAME_DEPTH_MAX];
	struct frame *at = &f->root;
	size_t depth = 0;

	while (len && depth < FLAME_DEPTH_MAX) {
		const char *end = memchr(stack, ';', len);
		size_t part = end ? (size_t)(end - stack) : len;
		char name[NAME_SIZE];

		if (part) {
			text__clean(name, sizeof(name), stack, part);
			at = child_of(at, name);
			if (!at)
				return -ENOMEM;
			path[depth++] = at;
		}
		stack += part + (end != NULL);
		len -= part + (end != NULL);
	}
	if (!depth)
		return -EINVAL;
	f->root.weight += weight;
	while (depth)
		path[--depth]->weight += weight;
	return 0;
}

/* ---- folded ---- */

static uint64_t own_weight(const struct frame *frame)
{
	uint64_t own = frame->weight;

	for (const struct frame *child = frame->child; child; child = child->next)
		own -= child->weight;
	return own;
}

/* Recursion is bounded by FLAME_DEPTH_MAX. */
static void fold(const struct frame *frame, const struct frame **path, size_t depth, uint64_t divisor, FILE *to)
{
	path[depth++] = frame;
	if (own_weight(frame) >= divisor) {
		for (size_t i = 0; i < depth; i++)
			fprintf(to, "%s%s", i ? ";" : "", path[i]->name);
		fprintf(to, " %llu\n", (unsigned long long)(own_weight(frame) / divisor));
	}
	for (const struct frame *child = frame->child; child; child = child->next)
		fold(child, path, depth, divisor, to);
}

void flame__fold(const struct flame *f, uint64_t divisor, FILE *to)
{
	const struct frame *path[FLAME_DEPTH_MAX];

	for (const struct frame *frame = f->root.child; frame; frame = frame->next)
		fold(frame, path, 0, divisor, to);
}

/* ---- drawing ---- */

static const char style[] =
	"svg{background:#fff;font:12px ui-monospace,'DejaVu Sans Mono',Menlo,monospace}text{fill:#1c2024}"
	".title{font:600 16px system-ui,sans-serif}.box{cursor:pointer}.box rect{stroke:#fff;stroke-width:.5}"
	".box text{pointer-events:none}.box:hover rect{stroke:#000}.box.hit rect{fill:#7048e8}.box.hit text{fill:#fff}"
	".box.below rect{opacity:.5}.link{cursor:pointer;text-decoration:underline}.none{display:none}"
	"@media (prefers-color-scheme:dark){svg{background:#14171b}.title,.foot,.link{fill:#e6e8eb}.box rect{stroke:#14171b}"
	".box:hover rect{stroke:#fff}}";

/*
 * data-x and data-w are shares of the whole, data-d the height above the ground. Zooming on a box: boxes beside it go away,
 * those below it become as wide as the picture. WIDE are the characters that text__columns() counts twice.
 */
static const char script[] =
	"(function(){\n"
	"var svg=document.currentScript.ownerSVGElement,boxes=[].slice.call(svg.querySelectorAll('.box'));\n"
	"var W=1180,L=10,LETTER=7.4,foot=svg.querySelector('.foot'),back=svg.querySelector('.back');\n"
	"function num(b,k){return parseFloat(b.getAttribute('data-'+k))}\n"
	"function name(b){return b.getAttribute('data-n')}\n"
	"var WIDE=/[\\u1100-\\u115f\\u2e80-\\ua4cf\\uac00-\\ud7a3\\uf900-\\ufaff\\ufe30-\\ufe6f\\uff00-\\uff60"
	"\\u{1f300}-\\u{1faff}\\u{20000}-\\u{3fffd}]/u;\n"
	"function head(n,room){var s='';for(var c of n){room-=WIDE.test(c)?2:1;if(room<0)break;s+=c}return s}\n"
	"function fit(b,w){var n=name(b),room=Math.floor((w-6)/LETTER);\n"
	" b.querySelector('text').textContent=room<3?'':head(n,room)===n?n:head(n,room-2)+'..'}\n"
	"function zoom(to){var X=to?num(to,'x'):0,S=to?num(to,'w'):1,D=to?num(to,'d'):-1,e=S*1e-6;\n"
	" boxes.forEach(function(b){var x=num(b,'x'),w=num(b,'w'),d=num(b,'d');\n"
	"  var below=d<D&&x<=X+e&&x+w>=X+S-e,on=d>=D&&x>=X-e&&x+w<=X+S+e;\n"
	"  b.classList.toggle('none',!below&&!on);b.classList.toggle('below',below);\n"
	"  if(!below&&!on)return;\n"
	"  var left=below?L:L+(x-X)/S*W,width=below?W:w/S*W,r=b.querySelector('rect'),t=b.querySelector('text');\n"
	"  r.setAttribute('x',left);r.setAttribute('width',width);t.setAttribute('x',left+3);fit(b,width)});\n"
	" back.classList.toggle('none',!to)}\n"
	"function search(){var word=window.prompt('Frames whose name contains:');if(word===null)return;mark(word)}\n"
	"function mark(word){var spans=[];\n"
	" boxes.forEach(function(b){var hit=word&&name(b).toLowerCase().indexOf(word.toLowerCase())>=0;\n"
	"  b.classList.toggle('hit',!!hit);if(hit)spans.push([num(b,'x'),num(b,'x')+num(b,'w')])});\n"
	" spans.sort(function(a,b){return a[0]-b[0]});var sum=0,end=0;\n"
	" spans.forEach(function(s){if(s[1]>end){sum+=s[1]-Math.max(s[0],end);end=s[1]}});\n"
	" foot.textContent=word?'\"'+word+'\": '+(100*sum).toFixed(1)+' % of the whole':''}\n"
	"boxes.forEach(function(b){b.addEventListener('click',function(){zoom(b)});\n"
	" b.addEventListener('mouseover',function(){foot.textContent=b.querySelector('title').textContent})});\n"
	"back.addEventListener('click',function(){zoom(null)});\n"
	"var find=svg.querySelector('.find');find.classList.remove('none');find.addEventListener('click',search);\n"
	"})();\n";

struct drawing {
	const struct flame *flame;
	enum flame_unit unit;
	FILE *to;
	double margin, width; /* of the boxes */
	double ground; /* y of the lowest boxes' lower edge */
};

/* Warm colours, the same for the same name in every picture. */
static void put_colour(FILE *to, const char *name)
{
	uint32_t hash = 2166136261u; /* FNV-1a */

	for (; *name; name++)
		hash = (hash ^ (unsigned char)*name) * 16777619u;
	fprintf(to, "hsl(%u,%u%%,%u%%)", 8 + hash % 44, 70 + (hash >> 8) % 20, 62 + (hash >> 16) % 12);
}

static double share_of(const struct drawing *d, uint64_t weight)
{
	return d->flame->root.weight ? (double)weight / (double)d->flame->root.weight : 0;
}

static const char *weight_text(const struct drawing *d, uint64_t weight, char buf[HUMAN_SIZE])
{
	if (d->unit == FLAME_COUNT)
		return human__grouped(buf, weight);
	return human__us(buf, (double)weight / (d->unit == FLAME_NS ? 1000 : 1));
}

/* As much of a name as fits into a box; the script's fit() does the same. */
static void put_label(FILE *to, const char *name, double width)
{
	size_t room = width > 6 ? (size_t)((width - 6) / LETTER_WIDTH) : 0;
	char cut[NAME_SIZE];

	if (room < 3)
		return;
	if (text__columns(name) <= room) {
		markup__text(to, name);
		return;
	}
	snprintf(cut, sizeof(cut), "%.*s..", (int)text__head(name, room - 2, sizeof(cut) - 3), name);
	markup__text(to, cut);
}

static void put_box(const struct drawing *d, const struct frame *frame, double x, size_t depth)
{
	double w = share_of(d, frame->weight), left = d->margin + x * d->width, width = w * d->width;
	double top = d->ground - (double)(depth + 1) * BOX_HEIGHT;
	char weight[HUMAN_SIZE], share[HUMAN_SIZE];

	fprintf(d->to, "<g class=\"box\" data-x=\"%.9f\" data-w=\"%.9f\" data-d=\"%zu\" data-n=\"", x, w, depth);
	markup__text(d->to, frame->name);
	fputs("\"><title>", d->to);
	markup__text(d->to, frame->name);
	fprintf(d->to, " (%s, ", weight_text(d, frame->weight, weight));
	markup__text(d->to, human__share(share, w)); /* "<0.1%" */
	fprintf(d->to, ")</title><rect x=\"%.2f\" y=\"%.0f\" width=\"%.2f\" height=\"%d\" rx=\"1\" fill=\"", left, top, width,
		BOX_HEIGHT - 1);
	put_colour(d->to, frame->name);
	fprintf(d->to, "\"/><text x=\"%.2f\" y=\"%.0f\">", left + 3, top + BOX_HEIGHT - 6);
	put_label(d->to, frame->name, width);
	fputs("</text></g>\n", d->to);
}

static bool is_drawn(const struct drawing *d, const struct frame *frame)
{
	return share_of(d, frame->weight) * d->width >= NARROWEST;
}

/* Recursion is bounded by FLAME_DEPTH_MAX. Returns how many levels there are from here on. */
static size_t put_boxes(const struct drawing *d, const struct frame *first, double x, size_t depth, bool draw)
{
	size_t levels = 0;

	for (const struct frame *frame = first; frame; frame = frame->next) {
		size_t above;

		if (is_drawn(d, frame)) {
			if (draw)
				put_box(d, frame, x, depth);
			above = 1 + put_boxes(d, frame->child, x, depth + 1, draw);
			levels = above > levels ? above : levels;
		}
		x += share_of(d, frame->weight);
	}
	return levels;
}

void flame__write(const struct flame *f, const char *title, enum flame_unit unit, FILE *to)
{
	struct drawing d = {.flame = f, .unit = unit, .to = to, .margin = MARGIN, .width = WIDTH - 2 * MARGIN};
	char weight[HUMAN_SIZE], clean[NAME_SIZE];
	size_t levels = put_boxes(&d, f->root.child, 0, 0, false);
	double height = HEAD_HEIGHT + (double)(levels ? levels : 1) * BOX_HEIGHT + FOOT_HEIGHT;

	text__clean(clean, sizeof(clean), title, strlen(title));
	d.ground = height - FOOT_HEIGHT;
	fprintf(to, "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%.0f\" viewBox=\"0 0 %d %.0f\">\n", WIDTH,
		height, WIDTH, height);
	fprintf(to, "<style>%s</style>\n", style);
	fprintf(to, "<text class=\"title\" x=\"%d\" y=\"24\">", MARGIN);
	markup__text(to, clean);
	fprintf(to, " (%s in all)</text>\n", weight_text(&d, f->root.weight, weight));
	fprintf(to, "<text class=\"link back none\" x=\"%d\" y=\"24\" text-anchor=\"end\">all of it</text>\n",
		WIDTH - MARGIN - 70);
	fprintf(to, "<text class=\"link find none\" x=\"%d\" y=\"24\" text-anchor=\"end\">search</text>\n", WIDTH - MARGIN);
	put_boxes(&d, f->root.child, 0, 0, true);
	if (!levels)
		fprintf(to, "<text class=\"foot\" x=\"%d\" y=\"%.0f\">no stacks</text>\n", MARGIN, d.ground - 5);
	fprintf(to, "<text class=\"foot\" x=\"%d\" y=\"%.0f\"></text>\n<script>//<![CDATA[\n%s//]]></script>\n</svg>\n", MARGIN,
		height - 8, script);
}

void flame__write_part(const struct flame *f, const char *title, enum flame_unit unit, FILE *to)
{
	struct drawing d = {.flame = f, .unit = unit, .to = to, .width = PART_WIDTH};
	size_t levels = put_boxes(&d, f->root.child, 0, 0, false);
	char clean[NAME_SIZE];

	text__clean(clean, sizeof(clean), title, strlen(title));
	d.ground = (double)(levels ? levels : 1) * BOX_HEIGHT;
	fprintf(to, "<svg class=\"flame\" viewBox=\"0 0 %d %.0f\" role=\"img\" aria-label=\"", PART_WIDTH, d.ground);
	markup__text(to, clean);
	fputs("\">\n", to);
	put_boxes(&d, f->root.child, 0, 0, true);
	fputs("</svg>\n", to);
}
