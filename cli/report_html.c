/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * See report_html.h. Text from outside (names, labels) goes through markup.h only. Charts are SVG, drawn here: steps, since
 * a point is the mean of an interval; where nothing is known there is a gap.
 */
#include "report_html.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "human.h"
#include "markup.h"
#include "stack_flame.h"

#define SHOWN_THREADS 40
#define SHOWN_FUNCTIONS 20
#define SHOWN_HOLDERS 10   /* columns of the matrix */
#define SHOWN_VICTIMS 16   /* rows */
#define SHOWN_LETTERS 12   /* of the names of both */

static const char style[] =
	":root{color-scheme:light dark;--bg:#fff;--ink:#1c2024;--soft:#60646c;--line:#e0e3e8;--card:#f7f8fa;--hold:#2f6fde;"
	"--wait:#d97706;--no:#2b8a3e;--partly:#b7620a;--yes:#c92a2a;--unknown:#60646c}"
	"@media (prefers-color-scheme:dark){:root{--bg:#14171b;--ink:#e6e8eb;--soft:#9ba1a9;--line:#2c3138;--card:#1c2026;"
	"--hold:#6ea2ff;--wait:#f2a33c;--no:#51cf66;--partly:#ffa94d;--yes:#ff8787;--unknown:#9ba1a9}}"
	"*{box-sizing:border-box}"
	"body{margin:0 auto;max-width:960px;padding:32px 24px 48px;overflow-wrap:break-word;background:var(--bg);"
	"color:var(--ink);font:15px/1.5 system-ui,-apple-system,'Segoe UI',Roboto,'DejaVu Sans',sans-serif}"
	"h1{font-size:24px;line-height:1.25;margin:0;overflow-wrap:anywhere}"
	"h2{font-size:17px;margin:36px 0 10px}p{margin:8px 0}.soft,figcaption{color:var(--soft);font-size:13px}"
	".banner{margin:22px 0 18px;padding:14px 18px;border-left:6px solid;background:var(--card);border-radius:4px}"
	".banner p{margin:6px 0}.banner .head{font-size:18px;font-weight:600}"
	".yes{border-color:var(--yes)}.partly{border-color:var(--partly)}.no{border-color:var(--no)}"
	".unknown{border-color:var(--unknown)}"
	".tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(112px,1fr));gap:10px;margin:0}"
	".tiles div{background:var(--card);border-radius:4px;padding:10px 12px}.tiles dt{color:var(--soft);font-size:12.5px}"
	".tiles dd{margin:0;font-size:20px;font-variant-numeric:tabular-nums}"
	"figure{margin:0 0 14px}svg{display:block;width:100%;height:auto}"
	"svg text{fill:var(--soft);font:11px system-ui,sans-serif}"
	".grid{stroke:var(--line);stroke-width:1}.area-hold{fill:var(--hold);fill-opacity:.28}.area-wait{fill:var(--wait);"
	"fill-opacity:.28}.line-hold,.line-wait{fill:none;stroke:var(--hold);stroke-width:1.5}.line-wait{stroke:var(--wait)}"
	".jam{fill:var(--yes)}"
	"ol.findings{padding:0;margin:0;list-style:none;counter-reset:n}"
	"ol.findings li{counter-increment:n;padding:12px 16px 12px 46px;margin:0 0 10px;background:var(--card);border-radius:4px;"
	"position:relative;overflow-wrap:anywhere}"
	"ol.findings li::before{content:counter(n);position:absolute;left:16px;font-size:19px;font-weight:600;line-height:1.3;"
	"color:var(--soft)}"
	".scroll{overflow-x:auto}table{border-collapse:collapse;font-size:13px;font-variant-numeric:tabular-nums}"
	"th,td{padding:5px 9px;text-align:right;white-space:nowrap;border-bottom:1px solid var(--line)}"
	"th{font-weight:600;color:var(--soft);vertical-align:bottom}th[scope=row],th.name{text-align:left}"
	"th[scope=row]{color:var(--ink);font-weight:500}.name{max-width:200px;overflow:hidden;text-overflow:ellipsis}"
	".matrix th.name{max-width:120px}.matrix thead th{text-align:right}.matrix thead th.name{text-align:left}"
	"td.heat{background:rgb(217 119 6/var(--a))}td.none{color:var(--line)}"
	"td.code{text-align:left;font-family:ui-monospace,'DejaVu Sans Mono',Menlo,monospace;white-space:normal;"
	"overflow-wrap:anywhere}"
	".flame text{fill:#1c2024;font:12px ui-monospace,'DejaVu Sans Mono',Menlo,monospace}.flame rect{stroke:var(--bg);"
	"stroke-width:.5}.flame .box:hover rect{stroke:var(--ink)}"
	".matrix td+td.sum,.matrix th.sum{border-left:2px solid var(--line)}"
	"tr.total td,tr.total th{border-top:2px solid var(--line);border-bottom:0}table.wide{width:100%}"
	".bar{display:inline-block;width:40px;height:9px;margin-left:8px;background:var(--line);border-radius:2px}"
	".bar i{border-radius:2px;display:block;height:100%;background:var(--hold)}.bar.w i{background:var(--wait)}"
	"footer{margin-top:36px;padding-top:12px;border-top:1px solid var(--line)}"
	"@media print{:root{--bg:#fff;--ink:#000;--soft:#444;--line:#ccc;--card:#f4f4f4;--hold:#2f6fde;--wait:#d97706}"
	"body{max-width:none;padding:0}*{print-color-adjust:exact;-webkit-print-color-adjust:exact}"
	"li,figure,tr,.banner,.tiles div{break-inside:avoid}h2{break-after:avoid}}";

/* ---- text and numbers ---- */

static void put_element(FILE *to, const char *tag, const char *text)
{
	if (!text[0])
		return;
	fprintf(to, "<%s>", tag);
	markup__text(to, text);
	fprintf(to, "</%s>", tag);
}

/* A number for people, and for programs the number itself, called as in --json. */
static void put_data(FILE *to, const char *name, double value, const char *shown)
{
	if (isnan(value)) {
		fputs("<span class=\"soft\">not known</span>", to);
		return;
	}
	/* As out__dump() writes it. */
	if (value == floor(value))
		fprintf(to, "<data class=\"%s\" value=\"%.0f\">", name, value);
	else
		fprintf(to, "<data class=\"%s\" value=\"%.9g\">", name, value);
	markup__text(to, shown); /* "<0.1%" */
	fputs("</data>", to);
}

static void put_us(FILE *to, const char *name, double us)
{
	char shown[HUMAN_SIZE];

	put_data(to, name, us, human__us(shown, us));
}

static void put_share(FILE *to, const char *name, double share)
{
	char shown[HUMAN_SIZE];

	put_data(to, name, share, human__share(shown, share));
}

static void put_count(FILE *to, const char *name, double n)
{
	char shown[HUMAN_SIZE];

	put_data(to, name, n, isnan(n) ? "" : human__grouped(shown, (uint64_t)n));
}

/* ---- head, verdict, tiles ---- */

enum stamp {
	STAMP_FULL,
	STAMP_DAY,
	STAMP_MINUTE,
	STAMP_SECOND,
};

static const char *utc(char *buf, size_t size, double ms, enum stamp stamp)
{
	time_t second = (time_t)(ms / 1000);
	struct tm tm = {0};
	size_t len = 0;

	gmtime_r(&second, &tm);
	switch (stamp) {
	case STAMP_FULL:
		len = strftime(buf, size, "%Y-%m-%d %H:%M:%S", &tm);
		break;
	case STAMP_DAY:
		len = strftime(buf, size, "%m-%d", &tm);
		break;
	case STAMP_MINUTE:
		len = strftime(buf, size, "%H:%M", &tm);
		break;
	case STAMP_SECOND:
		len = strftime(buf, size, "%H:%M:%S", &tm);
		break;
	}
	buf[len] = '\0';
	return buf;
}

static void put_period(const struct report *r, FILE *to)
{
	const struct report_point *first = r->points, *last = r->points + r->points_n - 1;
	char begin[48], end[48];

	if (!r->points_n)
		return;
	fprintf(to, ", %s to %s UTC", utc(begin, sizeof(begin), first->t_ms - first->d_us / 1000, STAMP_FULL),
		utc(end, sizeof(end), last->t_ms, STAMP_SECOND));
}

static void put_head(const struct report *r, FILE *to)
{
	fputs("<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"/>"
	      "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\"/>"
	      "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\"/>\n"
	      "<title>", to);
	markup__text(to, r->label);
	fprintf(to, ": GIL report</title>\n<style>%s</style></head>\n<body>\n<header><h1>", style);
	markup__text(to, r->label);
	fputs("</h1><p class=\"soft\">", to);
	markup__text(to, r->id);
	fputs(", CPython ", to);
	markup__text(to, r->python);
	fputs(": ", to);
	markup__text(to, r->when);
	put_period(r, to);
	fputs("</p></header>\n", to);
}

static void put_verdict(const struct report *r, FILE *to)
{
	if (r->gil_disabled) {
		fputs("<section class=\"banner no\"><p class=\"head\">GIL: NO. " NO_GIL_SAYS "</p></section>\n", to);
		return;
	}
	fprintf(to, "<section class=\"banner %s\"><p class=\"head\">", gil_bound__name(r->verdict.bound));
	markup__text(to, r->verdict.headline);
	fputs("</p>", to);
	if (r->verdict.todo[0]) {
		fputs("<p><b>Do:</b> ", to);
		markup__text(to, r->verdict.todo);
		fputs("</p>", to);
	}
	put_element(to, "p", r->verdict.numbers);
	put_element(to, "p", r->verdict.gain);
	fputs("</section>\n", to);
}

static void begin_tile(FILE *to, const char *title)
{
	fprintf(to, "<div><dt>%s</dt><dd>", title);
}

static void end_tile(FILE *to)
{
	fputs("</dd></div>\n", to);
}

static void put_tiles(const struct report *r, FILE *to)
{
	const struct verdict_input *in = &r->in;
	double waiters = rows__field(&r->all, FIELD_WAITERS);
	char shown[HUMAN_SIZE];

	fputs("<dl class=\"tiles\">\n", to);
	begin_tile(to, in->gils > 1 ? "GIL held (the busiest)" : "GIL held");
	put_share(to, "util", in->util);
	end_tile(to);
	begin_tile(to, "threads waiting");
	snprintf(shown, sizeof(shown), "%.2f", waiters);
	put_data(to, "waiters", waiters, shown);
	end_tile(to);
	begin_tile(to, "waited in all");
	put_us(to, "wait", in->all.wait_us);
	end_tile(to);
	begin_tile(to, "acquires");
	put_count(to, "n", in->all.n);
	end_tile(to);
	begin_tile(to, "of them waited");
	put_count(to, "c", in->all.c);
	end_tile(to);
	begin_tile(to, "CPU time");
	put_us(to, "cpu", in->cpu_us);
	end_tile(to);
	if (!isnan(r->verdict.gain_max) && r->verdict.bound != BOUND_NO) {
		begin_tile(to, "at best, no GIL");
		snprintf(shown, sizeof(shown), "%.2f x", r->verdict.gain_max);
		put_data(to, "gain_max", r->verdict.gain_max, shown);
		end_tile(to);
	}
	fputs("</dl>\n", to);
}

/* ---- over time ---- */

#define CHART_W 912.0
#define PLOT_LEFT 44.0
#define PLOT_RIGHT (CHART_W - 8)
#define PLOT_TOP 12.0
#define LABEL_WIDTH 48.0

/* A chart of one number of some points. */
struct chart {
	const struct report_point *points;
	size_t n;
	double (*value)(const struct report_point *p);
	const char *kind, *title;
	double height; /* of the plot */
	double top;    /* its value there */
	bool shares;
	double from_ms, to_ms;
};

static double util_of(const struct report_point *p)
{
	return p->util;
}

static double waiters_of(const struct report_point *p)
{
	return p->waiters;
}

static bool is_jammed(const struct report_point *p)
{
	return p->util >= VERDICT_JAMMED_UTIL && p->waiters >= VERDICT_JAMMED_WAITERS;
}

static double x_of(const struct chart *c, double ms)
{
	return PLOT_LEFT + (ms - c->from_ms) / (c->to_ms - c->from_ms) * (PLOT_RIGHT - PLOT_LEFT);
}

static double y_of(const struct chart *c, double value)
{
	return PLOT_TOP + (1 - (value < c->top ? value : c->top) / c->top) * c->height;
}

/* Whether this point begins where the one before has ended: a tenth of an interval is no gap. */
static bool joins(const struct report_point *before, const struct report_point *p)
{
	return fabs(p->t_ms - p->d_us / 1000 - before->t_ms) < 0.1 * p->d_us / 1000;
}

/* The line of a stretch without gaps, or the area below it. Returns the first point behind the stretch. */
static size_t put_stretch(const struct chart *c, FILE *to, size_t i, bool area)
{
	const struct report_point *points = c->points;
	double bottom = PLOT_TOP + c->height, end;

	fprintf(to, "M%.1f %.1f", x_of(c, points[i].t_ms - points[i].d_us / 1000),
		area ? bottom : y_of(c, c->value(&points[i])));
	do {
		end = x_of(c, points[i].t_ms);
		fprintf(to, "V%.1fH%.1f", y_of(c, c->value(&points[i])), end);
		i++;
	} while (i < c->n && !isnan(c->value(&points[i])) && joins(&points[i - 1], &points[i]));
	if (area)
		fprintf(to, "V%.1fZ", bottom);
	return i;
}

static void put_curve(const struct chart *c, FILE *to, bool area)
{
	size_t i = 0;

	fprintf(to, "<path class=\"%s-%s\" d=\"", area ? "area" : "line", c->kind);
	while (i < c->n) {
		if (isnan(c->value(&c->points[i])))
			i++;
		else
			i = put_stretch(c, to, i, area);
	}
	fputs("\"/>\n", to);
}

static void put_y_axis(const struct chart *c, FILE *to)
{
	for (int i = 0; i <= 4; i++) {
		double value = c->top * i / 4, y = y_of(c, value);

		fprintf(to, "<path class=\"grid\" d=\"M%.0f %.1fH%.0f\"/><text x=\"%.0f\" y=\"%.1f\" text-anchor=\"end\">",
			PLOT_LEFT, y, PLOT_RIGHT, PLOT_LEFT - 6, y + 4);
		if (c->shares)
			fprintf(to, "%.0f %%</text>\n", 100 * value);
		else
			fprintf(to, "%.3g</text>\n", value);
	}
}

/* Round distances in seconds, of which one gives six labels or so. */
static double label_step(double seconds)
{
	static const double steps[] = {1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 21600, 43200, 86400};
	size_t i = 0;

	while (i + 1 < sizeof(steps) / sizeof(steps[0]) && seconds / steps[i] > 8)
		i++;
	return steps[i];
}

static void put_x_axis(const struct chart *c, FILE *to)
{
	double step = 1000 * label_step((c->to_ms - c->from_ms) / 1000);
	enum stamp stamp = step >= 86400000 ? STAMP_DAY : step >= 60000 ? STAMP_MINUTE : STAMP_SECOND;
	char text[32];

	for (double ms = ceil(c->from_ms / step) * step; x_of(c, ms) < PLOT_RIGHT - LABEL_WIDTH / 2; ms += step)
		fprintf(to, "<path class=\"grid\" d=\"M%.1f %.1fv5\"/><text x=\"%.1f\" y=\"%.1f\" text-anchor=\"middle\">%s"
			"</text>\n", x_of(c, ms), PLOT_TOP + c->height, x_of(c, ms), PLOT_TOP + c->height + 18,
			utc(text, sizeof(text), ms, stamp));
}

static void put_jams(const struct chart *c, FILE *to)
{
	for (size_t i = 0; i < c->n; i++) {
		const struct report_point *p = &c->points[i];
		double x = x_of(c, p->t_ms - p->d_us / 1000);

		if (is_jammed(p))
			fprintf(to, "<rect class=\"jam\" x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"3\"/>", x, PLOT_TOP - 6,
				x_of(c, p->t_ms) - x);
	}
}

static void put_chart(const struct chart *c, FILE *to)
{
	fprintf(to, "<figure><figcaption>%s</figcaption><svg viewBox=\"0 0 %.0f %.0f\" role=\"img\" aria-label=\"%s\">\n",
		c->title, CHART_W, PLOT_TOP + c->height + 24, c->title);
	put_y_axis(c, to);
	put_x_axis(c, to);
	put_curve(c, to, true);
	put_curve(c, to, false);
	if (c->shares)
		put_jams(c, to);
	fputs("</svg></figure>\n", to);
}

/* The first of 1, 2, 4, 8, 10, 20, ... that nothing lies above. */
static double round_top(const struct chart *c)
{
	static const double rounds[] = {1, 2, 4, 8};
	double most = 0;

	for (size_t i = 0; i < c->n; i++)
		most = fmax(most, c->value(&c->points[i]));
	for (double ten = 1;; ten *= 10)
		for (size_t i = 0; i < 4; i++)
			if (most <= rounds[i] * ten)
				return rounds[i] * ten;
}

/* The first and the last interval may have been cut short: a sliver says nothing to the eye. */
static void leave_out_slivers(struct chart *c)
{
	double longest = 0;

	for (size_t i = 0; i < c->n; i++)
		longest = fmax(longest, c->points[i].d_us);
	while (c->n && c->points[c->n - 1].d_us < longest / 5)
		c->n--;
	while (c->n && c->points[0].d_us < longest / 5) {
		c->points++;
		c->n--;
	}
}

static void put_charts(const struct report *r, FILE *to)
{
	struct chart util = {
		.points = r->points, .n = r->points_n, .value = util_of, .kind = "hold", .height = 150, .shares = true,
		.title = "Share of the time in which some thread held the GIL (red above: jammed, held and waited for)",
	};
	struct chart waiters;

	leave_out_slivers(&util);
	if (util.n < 2)
		return;
	util.top = 1;
	util.from_ms = util.points[0].t_ms - util.points[0].d_us / 1000;
	util.to_ms = util.points[util.n - 1].t_ms;
	waiters = util;
	waiters.value = waiters_of;
	waiters.kind = "wait";
	waiters.title = "Threads waiting for it, on average";
	waiters.height = 90;
	waiters.shares = false;
	waiters.top = round_top(&waiters);
	fputs("<h2>Over time (UTC)</h2>\n", to);
	if (!isnan(r->in.util))
		put_chart(&util, to);
	put_chart(&waiters, to);
}

/* ---- findings ---- */

static void put_findings(const struct report *r, FILE *to)
{
	if (!r->verdict.findings_n) {
		put_element(to, "p", r->verdict.cause);
		return;
	}
	fputs("<h2>What was found</h2>\n<ol class=\"findings\">\n", to);
	for (size_t i = 0; i < r->verdict.findings_n; i++) {
		const struct verdict_finding *f = &r->verdict.findings[i];

		fprintf(to, "<li id=\"%s\">", verdict_pattern__name(f->pattern));
		put_element(to, "p", f->evidence);
		fputs("<p><b>What usually helps:</b> ", to);
		markup__text(to, f->remedy);
		fputs("</p></li>\n", to);
	}
	fputs("</ol>\n", to);
	put_element(to, "p", r->verdict.cause);
}

/* ---- who made whom wait ---- */

/* Threads that are most in the pairs, as victims or as holders. */
struct cast {
	size_t who[SHOWN_VICTIMS];
	size_t n;
	bool others; /* there are more */
	double *us;  /* by thread: of all pairs */
};

static bool is_in(const struct cast *cast, size_t thread)
{
	for (size_t i = 0; i < cast->n; i++)
		if (cast->who[i] == thread)
			return true;
	return false;
}

/* The largest that is not in it yet; SIZE_MAX: nobody. */
static size_t next_of_cast(const struct cast *cast, const struct report *r)
{
	size_t best = SIZE_MAX;

	for (size_t i = 0; i < r->in.threads_n; i++)
		if (cast->us[i] > 0 && (best == SIZE_MAX || cast->us[i] > cast->us[best]) && !is_in(cast, i))
			best = i;
	return best;
}

static bool make_cast(struct cast *cast, const struct report *r, bool victims, size_t max)
{
	*cast = (struct cast){.us = calloc(r->in.threads_n + 1, sizeof(*cast->us))};
	if (!cast->us)
		return false;
	for (size_t i = 0; i < r->in.pairs_n; i++)
		cast->us[victims ? r->pairs[i].victim : r->pairs[i].holder] += r->pairs[i].us;
	while (cast->n < max && next_of_cast(cast, r) != SIZE_MAX) {
		cast->who[cast->n] = next_of_cast(cast, r);
		cast->n++;
	}
	cast->others = next_of_cast(cast, r) != SIZE_MAX;
	return true;
}

static double pair_us(const struct report *r, size_t victim, size_t holder)
{
	double us = 0;

	for (size_t i = 0; i < r->in.pairs_n; i++)
		if (r->pairs[i].victim == victim && r->pairs[i].holder == holder)
			us += r->pairs[i].us;
	return us;
}

/* Darker means more; the root makes small ones visible. */
static void put_heat(FILE *to, const char *name, double us, double most)
{
	if (us <= 0) {
		fputs("<td class=\"none\">.</td>", to);
		return;
	}
	fprintf(to, "<td class=\"heat\" style=\"--a:%.3f\">", 0.06 + 0.6 * sqrt(us / most));
	put_us(to, name, us);
	fputs("</td>", to);
}

static void put_name_as(FILE *to, const char *name, const char *shown, const char *attributes)
{
	fprintf(to, "<th %s title=\"", attributes);
	markup__text(to, name);
	fputs("\">", to);
	markup__text(to, shown);
	fputs("</th>", to);
}

static void put_name(FILE *to, const char *name, const char *attributes)
{
	put_name_as(to, name, name, attributes);
}

/* In the matrix there is little room, and names of threads differ at their ends. */
static void put_short_name(FILE *to, const char *name, const char *attributes)
{
	char shown[REPORT_NAME_SIZE];

	put_name_as(to, name, out__cut_middle(shown, sizeof(shown), name, SHOWN_LETTERS), attributes);
}

static void put_value(FILE *to, const char *name, double value, bool count)
{
	if (isnan(value))
		fputs("-", to);
	else if (count)
		put_count(to, name, value);
	else
		put_us(to, name, value);
}

static void put_cell(FILE *to, const char *name, double value, bool count)
{
	fputs("<td>", to);
	put_value(to, name, value, count);
	fputs("</td>", to);
}

/* Looks see that it was so long at least. */
static void put_bound(FILE *to, const char *name, double us, bool is_lower)
{
	fputs(is_lower && !isnan(us) ? "<td>&ge; " : "<td>", to);
	put_value(to, name, us, false);
	fputs("</td>", to);
}

static void put_matrix_head(const struct report *r, FILE *to, const struct cast *holders)
{
	fputs("<thead><tr><th class=\"name\">waited</th>", to);
	for (size_t i = 0; i < holders->n; i++)
		put_short_name(to, r->names[holders->who[i]], "class=\"name\" scope=\"col\"");
	if (holders->others)
		fputs("<th scope=\"col\">others</th>", to);
	fputs("<th scope=\"col\" class=\"sum\">in all</th></tr></thead>\n", to);
}

static void put_matrix_row(const struct report *r, FILE *to, size_t victim, double victim_us, const struct cast *holders,
			   double most)
{
	double rest = victim_us;

	fputs("<tr>", to);
	put_short_name(to, r->names[victim], "class=\"name\" scope=\"row\"");
	for (size_t i = 0; i < holders->n; i++) {
		double us = pair_us(r, victim, holders->who[i]);

		put_heat(to, "pair", us, most);
		rest -= us;
	}
	if (holders->others)
		put_heat(to, "pair-rest", rest > 0.5 ? rest : 0, most);
	fputs("<td class=\"sum\">", to);
	put_us(to, "victim", victim_us);
	fputs("</td></tr>\n", to);
}

static void put_matrix_total(const struct report *r, FILE *to, const struct cast *holders)
{
	double all = 0, rest = 0;

	for (size_t i = 0; i < r->in.threads_n; i++)
		all += holders->us[i];
	rest = all;
	fputs("<tr class=\"total\"><th scope=\"row\" class=\"name\">all</th>", to);
	for (size_t i = 0; i < holders->n; i++) {
		fputs("<td>", to);
		put_us(to, "holder", holders->us[holders->who[i]]);
		fputs("</td>", to);
		rest -= holders->us[holders->who[i]];
	}
	if (holders->others)
		put_cell(to, "holder-rest", rest > 0.5 ? rest : 0, false);
	fputs("<td class=\"sum\">", to);
	put_us(to, "pairs", all);
	fputs("</td></tr>\n", to);
}

/* What completes the pairs to all of the waiting. */
static void put_remainders(const struct report *r, FILE *to)
{
	double other = report__other_blame(r);

	if (isnan(r->in.handover_us)) {
		fputs("<p class=\"soft\">How much of the waiting passed while nobody held the GIL is not known in light "
		      "mode", to);
	} else {
		fputs("<p class=\"soft\">Of the waiting, ", to);
		put_us(to, "handover", r->in.handover_us);
		fputs(" passed while nobody held the GIL (handover: the next thread was still being woken, or had no CPU)", to);
	}
	if (other > (double)r->in.threads_n) { /* less is rounding: a thread has whole microseconds */
		fputs(", ", to);
		put_us(to, "blame-other", other);
		fputs(" of it is blame that is not kept pair by pair", to);
	}
	if (r->in.unknown_us > 0) {
		fputs("; of ", to);
		put_us(to, "unknown", r->in.unknown_us);
		fputs(" the holder is not known", to);
	}
	fputs(".</p>\n", to);
}

static void put_matrix(const struct report *r, FILE *to)
{
	struct cast victims = {0}, holders = {0};
	double most = 0;

	for (size_t i = 0; i < r->in.pairs_n; i++)
		most = fmax(most, r->pairs[i].us);
	if (most <= 0 || !make_cast(&victims, r, true, SHOWN_VICTIMS) || !make_cast(&holders, r, false, SHOWN_HOLDERS)) {
		free(victims.us);
		return;
	}
	fprintf(to, "<h2>Who made whom wait</h2>\n<p class=\"soft\">A row is a thread that waited, a column one that held the "
		"GIL meanwhile%s.</p>\n<div class=\"scroll\"><table class=\"matrix\">\n",
		r->in.gil_looks > 0 ? " (sampled: look mode)" : r->in.sampled ? " (sampled: light mode)" : "");
	put_matrix_head(r, to, &holders);
	fputs("<tbody>\n", to);
	for (size_t i = 0; i < victims.n; i++)
		put_matrix_row(r, to, victims.who[i], victims.us[victims.who[i]], &holders, most);
	put_matrix_total(r, to, &holders);
	fputs("</tbody></table></div>\n", to);
	put_remainders(r, to);
	free(victims.us);
	free(holders.us);
}

/* ---- in which code ---- */

/* The worst functions, whichever threads ran them. */
static void put_code(const struct report *r, FILE *to)
{
	size_t n = 0;

	while (n < r->functions_n && n < SHOWN_FUNCTIONS && r->functions[n].blame_us > 0)
		n++;
	if (n)
		fputs("<h2>In which code</h2>\n<div class=\"scroll\"><table><thead><tr><th class=\"name\">thread</th>"
		      "<th class=\"name\">holds in</th><th>others waited</th></tr></thead><tbody>\n", to);
	for (size_t i = 0; i < n; i++) {
		fputs("<tr>", to);
		put_name(to, r->functions[i].who, "class=\"name\" scope=\"row\"");
		fputs("<td class=\"code\">", to);
		markup__text(to, r->functions[i].place);
		if (r->functions[i].native[0]) {
			fputs(", in ", to);
			markup__text(to, r->functions[i].native);
		}
		fputs("</td>", to);
		put_cell(to, "code-blame", r->functions[i].blame_us, false);
		fputs("</tr>\n", to);
	}
	if (n)
		fputs("</tbody></table></div>\n", to);
}

/* ---- in which stacks ---- */

/* By blame; where nobody waited, by hold. NULL: no memory. */
static struct flame *make_flame(const struct report *r, enum flame_weight *ret_weight)
{
	struct stack_weights total = stacks_sum__total(&r->stacks);

	*ret_weight = total.blame_ns ? WEIGHT_BLAME : WEIGHT_HOLD;
	return stack_flame__of(&r->stacks, *ret_weight, true);
}

static void put_graph(const struct flame *flame, enum flame_weight weight, FILE *to)
{
	fprintf(to, "<p class=\"soft\">%s: ", weight == WEIGHT_BLAME ? "Other threads' waiting, by the code that held the GIL" :
		"Nobody waited for the code that was asked: time holding the GIL, by code");
	put_us(to, "flame", floor((double)flame__total(flame) / 1e3));
	fputs(" in all. The widest box is the worst; a box stands on its caller, the lowest are threads; hover to read what is "
	      "narrow.</p>\n<figure>", to);
	flame__write_part(flame, stack_flame__words(weight), FLAME_NS, to);
	fputs("</figure>\n", to);
}

static void put_stacks(const struct report *r, FILE *to)
{
	enum flame_weight weight;
	struct flame *flame = make_flame(r, &weight);

	fputs("<h2>Flame graph</h2>\n", to);
	if (flame && flame__total(flame))
		put_graph(flame, weight, to);
	else
		put_element(to, "p", r->no_stacks ? r->no_stacks : "No hold or wait was long enough to be asked for its stack "
			    "(5 ms, the switch interval). gilscope flame --stacks 0 asks every hold that made somebody wait.");
	flame__free(flame);
}

/* ---- threads ---- */

static int busier_first(const void *a, const void *b, void *threads)
{
	const struct verdict_load *x = (const struct verdict_load *)threads + *(const size_t *)a;
	const struct verdict_load *y = (const struct verdict_load *)threads + *(const size_t *)b;
	double hold_x = isnan(x->hold_us) ? 0 : x->hold_us, hold_y = isnan(y->hold_us) ? 0 : y->hold_us;

	if (hold_x != hold_y)
		return hold_x < hold_y ? 1 : -1;
	return x->wait_us < y->wait_us ? 1 : x->wait_us > y->wait_us ? -1 : 0;
}

static void put_bar(const struct report *r, FILE *to, const char *name, double us, const char *class)
{
	double share = us / r->in.observed_us;

	fputs("<td>", to);
	if (isnan(us)) {
		fputs("-</td>", to);
		return;
	}
	put_share(to, name, share);
	fprintf(to, "<span class=\"bar%s\"><i style=\"width:%.1f%%\"></i></span></td>", class, 100 * fmin(share, 1));
}

static void put_thread(const struct report *r, FILE *to, size_t i)
{
	const struct verdict_load *t = &r->threads[i];

	fputs("<tr>", to);
	put_name(to, r->names[i], "class=\"name\" scope=\"row\"");
	put_bar(r, to, "thread-hold", t->hold_us, "");
	put_bar(r, to, "thread-wait", t->wait_us, " w");
	put_cell(to, "thread-n", t->n, true);
	put_cell(to, "thread-c", t->c, true);
	put_cell(to, "thread-forced", t->forced, true);
	put_cell(to, "thread-hold-max", t->hold_max, false);
	put_cell(to, "thread-wait-p99", t->wait_p99, false);
	put_bound(to, "thread-wait-max", t->wait_max, r->in.gil_looks > 0);
	fputs("</tr>\n", to);
}

static void put_threads(const struct report *r, FILE *to)
{
	size_t *order = calloc(r->in.threads_n + 1, sizeof(*order)), shown;

	if (!order || !r->in.threads_n) {
		free(order);
		return;
	}
	for (size_t i = 0; i < r->in.threads_n; i++)
		order[i] = i;
	qsort_r(order, r->in.threads_n, sizeof(*order), busier_first, r->threads);
	shown = r->in.threads_n < SHOWN_THREADS ? r->in.threads_n : SHOWN_THREADS;
	fputs("<h2>Threads</h2>\n<div class=\"scroll\"><table class=\"wide\"><thead><tr><th class=\"name\">thread</th>"
	      "<th>held</th><th>waited</th><th>acquires</th><th>had to wait</th><th>forced</th><th>longest hold</th>"
	      "<th>wait p99</th><th>longest wait</th></tr></thead><tbody>\n", to);
	for (size_t i = 0; i < shown; i++)
		put_thread(r, to, order[i]);
	fputs("</tbody></table></div>\n", to);
	if (shown < r->in.threads_n)
		fprintf(to, "<p class=\"soft\">and %zu more threads</p>\n", r->in.threads_n - shown);
	free(order);
}

/* ---- the page ---- */

static void put_note(FILE *to, const char *note)
{
	fputs("</p><p>Note: ", to);
	markup__text(to, note);
	fputs(".", to);
}

static void put_foot(const struct report *r, FILE *to)
{
	double cost = rows__field(&r->all, FIELD_COST) / r->in.observed_us;

	fputs("<footer class=\"soft\"><p>Rests on ", to);
	put_us(to, "observed", r->in.observed_us);
	fputs(" observed; events lost or out of order: ", to);
	put_count(to, "lost", r->in.lost);
	fputs("; gilscope's own cost was ", to);
	put_share(to, "cost", cost);
	fputs(" of a core. ", to);
	markup__text(to, r->verdict.limits);
	if (r->runtime[0])
		put_note(to, r->runtime);
	fputs("</p><p>Held: from having the GIL to having let go. Waited: from finding it taken to having it, and the time "
	      "that a thread forced to let go is kept until another took over. Forced: taken away because others waited, as "
	      "opposed to input and output or sleep. Durations, not samples.</p>"
	      "<p>Made by gilscope " GILSCOPE_VERSION ".</p></footer>\n", to);
}

void report_html__write(const struct report *r, FILE *to)
{
	put_head(r, to);
	put_verdict(r, to);
	if (!r->gil_disabled) {
		put_tiles(r, to);
		put_charts(r, to);
		put_findings(r, to);
		put_matrix(r, to);
		put_code(r, to);
		put_stacks(r, to);
		put_threads(r, to);
		put_foot(r, to);
	}
	fputs("</body></html>\n", to);
}
