/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * gilscope top: the full-screen view. What is shown is top_model's and top_view's, where it comes from top_source's, how it gets
 * on the terminal top_screen's; here is who PROCESS is, and the loop between them.
 *
 * One source at a time: the list of processes, a process out of Redis, or one that is observed by this very program.
 */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

#include "cli/top/top_screen.h"
#include "cli/top/top_source.h"
#include "cli/top/top_view.h"
#include "collector/base/log.h"
#include "collector/probes/probes.h"
#include "collector/process/caps.h"
#include "collector/redis/query.h"
#include "collector/target/target.h"
#include "args.h"
#include "cmds.h"
#include "history.h"
#include "kin.h"

#define IDLE_MS 1000   /* ages on the page grow, notices vanish */
#define CTRL_L 12

/* What to begin with. */
struct start {
	char id[SCHEMA_ID_SIZE];  /* out of Redis, ... */
	pid_t pid;                /* ... or to attach to; neither: the list */
	char notice[TOP_WORDS];
};

struct app {
	const struct options *o;
	struct top_model model;
	struct top_source *source;
	int signal_fd, log_fd;
	bool done, anew;
};

/* ---- who is meant ---- */

struct search {
	const char *word;
	pid_t pid;
	size_t found;
};

static int search_one(void *arg, pid_t pid, const struct target *t, const char *why_not)
{
	struct search *s = arg;

	if (t && strcasestr(t->label, s->word)) {
		s->pid = pid;
		s->found++;
	}
	return 0;
}

/* Processes here by a part of their label. */
static size_t search_here(const char *word, pid_t *ret_pid)
{
	struct search search = {.word = word};
	struct reason why;

	target__each(NULL, search_one, &search, &why);
	*ret_pid = search.pid;
	return search.found;
}

/* What Redis has of it; -ENOENT and others: nothing. */
static int find_known(const struct options *o, const char *word, struct query_proc *ret, struct reason *why)
{
	struct query *q = NULL;
	struct history h;
	int choices = 0, err = history__open_reader(o, &h, why);

	if (err)
		return err;
	err = query__open(&h.url, o->prefix, &q, why);
	err = err ? err : query__resolve(q, word, ret, &choices, why);
	query__close(q);
	history__close(&h);
	return err;
}

/* A mistyped PID is told at once, before the terminal is taken; so are missing rights. */
static int attach_to(const struct options *o, struct start *start, pid_t pid, struct reason *why)
{
	struct target *t;
	int err = kin__explain(pid, target__open(pid, &t, why), why);

	if (err)
		return err;
	target__close(t);
	err = o->mode == MODE_LOOK || o->mode == MODE_AUTO ? 0 : caps__check(why);
	start->pid = err ? 0 : pid;
	return err;
}

/* Who is observed now, then who runs here, then who was observed once. */
static int find_start(const struct options *o, const char *word, struct start *start, struct reason *why)
{
	struct query_proc proc = {.live = false};
	struct reason no_store = {""};
	int err = find_known(o, word, &proc, &no_store);
	bool number = word[strspn(word, "0123456789")] == '\0';
	size_t here;
	pid_t pid;

	if (err == -EINVAL)
		return reason__set(why, err, "%s", no_store.text);
	if (!err && (proc.live || strcmp(proc.id, word) == 0)) {
		snprintf(start->id, sizeof(start->id), "%s", proc.id);
		return 0;
	}
	if (number && (err || (args__pid(word, &pid, why) == 0 && (kill(pid, 0) == 0 || errno == EPERM))))
		return args__pid(word, &pid, why) ?: attach_to(o, start, pid, why);
	here = search_here(word, &pid);
	if (here == 1)
		return attach_to(o, start, pid, why);
	if (here > 1)
		snprintf(start->notice, sizeof(start->notice), "%zu processes here match '%.60s': choose one.", here, word);
	else if (!err)
		snprintf(start->id, sizeof(start->id), "%s", proc.id);
	if (err && !here)
		return reason__set(why, err, "no Python process that runs here matches '%.60s', and %.300s", word, no_store.text);
	return 0;
}

/* ---- what other parts of the program have to say ---- */

static struct {
	pthread_mutex_t lock;
	char sentence[TOP_WORDS]; /* the last one */
	int fd;
	pid_t pid;
} said = {.lock = PTHREAD_MUTEX_INITIALIZER, .fd = -1};

/* From any thread. A forked child's own talk is lost: it may have been born while another thread had the lock. */
static void on_sentence(const char *sentence)
{
	if (getpid() != said.pid)
		return;
	pthread_mutex_lock(&said.lock);
	snprintf(said.sentence, sizeof(said.sentence), "%s", sentence);
	pthread_mutex_unlock(&said.lock);
	eventfd_write(said.fd, 1);
}

static void take_sentence(struct app *app, int64_t now_ms)
{
	struct top_update u = {.kind = TOP_UPDATE_NOTICE};
	eventfd_t count;

	if (eventfd_read(said.fd, &count))
		return;
	pthread_mutex_lock(&said.lock);
	memcpy(u.words, said.sentence, sizeof(u.words));
	pthread_mutex_unlock(&said.lock);
	top_model__take(&app->model, &u, now_ms);
}

/* ---- drawing ---- */

static int64_t wall_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static void draw(struct app *app)
{
	size_t columns, lines;
	struct canvas *page;
	bool ascii;

	top_screen__size(&columns, &lines, &ascii);
	page = canvas__new(columns, lines, ascii);
	if (!page)
		return;
	top_view__draw(&app->model, page, wall_ms());
	top_screen__show(page, app->anew);
	canvas__free(page);
	app->anew = false;
}

static void say(struct app *app, const char *sentence)
{
	struct top_update u = {.kind = TOP_UPDATE_NOTICE};

	snprintf(u.words, sizeof(u.words), "%s", sentence);
	top_model__take(&app->model, &u, wall_ms());
}

/* ---- sources ---- */

static void stop_source(struct app *app)
{
	if (app->source && app->model.page != TOP_PAGE_LIST) {
		app->model.help = false;
		say(app, "Letting go ...");
		draw(app);
	}
	top_source__stop(app->source);
	app->source = NULL;
}

/* What cannot begin is said where the list would be. */
static void open_source(struct app *app, const char *id, pid_t pid)
{
	struct reason why = {""};
	int err;

	stop_source(app);
	top_model__forget_process(&app->model);
	app->model.page = id || pid ? TOP_PAGE_PROCESS : TOP_PAGE_LIST;
	if (id)
		err = top_source__redis(app->o, id, app->model.wants_minute, &app->source, &why);
	else if (pid)
		err = top_source__attach(app->o, pid, &app->source, &why);
	else
		err = top_source__list(app->o, &app->source, &why);
	if (err)
		say(app, why.text);
}

static void open_choice(struct app *app)
{
	const struct top_choice *choice = top_model__choice(&app->model);
	char id[SCHEMA_ID_SIZE];

	if (!choice)
		return;
	memcpy(id, choice->id, sizeof(id));
	open_source(app, id[0] ? id : NULL, choice->pid);
}

/* ---- the loop ---- */

static void take_key(struct app *app, int key)
{
	app->anew = key == CTRL_L;
	switch (top_model__key(&app->model, key)) {
	case TOP_NOTHING:
		break;
	case TOP_QUIT:
		app->done = true;
		break;
	case TOP_OPEN:
		open_choice(app);
		break;
	case TOP_LIST:
		open_source(app, NULL, 0);
		break;
	case TOP_REFRESH:
		if (app->source)
			top_source__refresh(app->source);
		break;
	case TOP_OTHER_WINDOW:
		if (app->source)
			top_source__want_minute(app->source, app->model.wants_minute);
		break;
	}
}

static void take_updates(struct app *app)
{
	struct top_update u;

	while (app->source && top_source__next(app->source, &u))
		top_model__take(&app->model, &u, wall_ms());
	if (app->source && top_source__was_told_to_end(app->source))
		app->done = true;
}

/* Signals interrupt poll(): a resize is a key, and so on. */
static void turn(struct app *app)
{
	struct pollfd polls[] = {
		{.fd = STDIN_FILENO, .events = POLLIN},
		{.fd = app->signal_fd, .events = POLLIN},
		{.fd = said.fd, .events = POLLIN},
		{.fd = app->source ? top_source__fd(app->source) : -1, .events = POLLIN},
	};
	int key;

	draw(app);
	if (poll(polls, sizeof(polls) / sizeof(polls[0]), IDLE_MS) < 0 && errno != EINTR)
		app->done = true;
	if (polls[1].revents || (polls[0].revents & (POLLHUP | POLLERR | POLLNVAL)))
		app->done = true;
	while (!app->done && (key = top_screen__key()) != TOP_KEY_NONE)
		take_key(app, key);
	take_sentence(app, wall_ms());
	take_updates(app);
}

static int take_signals(struct app *app, struct reason *why)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGQUIT);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	app->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	said.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	said.pid = getpid();
	if (app->signal_fd < 0 || said.fd < 0)
		return reason__set(why, -errno, "signals can't be taken: %s", strerror(errno));
	return 0;
}

/* The terminal is ours between the first line and the last. */
static int show(struct app *app, const struct start *start, struct reason *why)
{
	int err = top_screen__open(why);

	if (err)
		return err;
	log__set_listener(on_sentence);
	open_source(app, start->id[0] ? start->id : NULL, start->pid);
	if (start->notice[0])
		say(app, start->notice);
	while (!app->done)
		turn(app);
	stop_source(app);
	log__set_listener(NULL);
	top_screen__close();
	/* What was asked for by name never came to be seen. */
	if (app->model.state == TOP_FAILED && start->pid)
		err = reason__set(why, -ESRCH, "%s", app->model.words);
	return err;
}

static int run(const struct verb *verb, struct options *o, int argc, char **argv)
{
	struct app app = {.o = o, .signal_fd = -1};
	struct start start = {.pid = 0};
	struct reason why = {""};
	int err = top_screen__check(&why);

	top_model__init(&app.model);
	err = err || !argc ? err : find_start(o, argv[0], &start, &why);
	err = err ? err : take_signals(&app, &why);
	history__prepare(o);
	/* From here on only what observing takes: sources inherit it. */
	err = err ? err : probes__give_up_rights(false, &why);
	err = err ? err : show(&app, &start, &why);
	top_model__clear(&app.model);
	if (app.signal_fd >= 0)
		close(app.signal_fd);
	if (said.fd >= 0)
		close(said.fd);
	return err ? options__fail(verb, err == -EINVAL ? EXIT_USAGE : EXIT_FAILED, &why) : EXIT_OK;
}

const struct verb verb_top = {
	.name = "top",
	.args = "[PROCESS]",
	.summary = "full screen: how busy the GIL is, who holds it, who waits for whom",
	.about = "A live view of one process: how busy its GIL is and how many threads wait for it, now and in the last "
		 "minutes; its threads, ordered by hold, wait or blame; and who waits for whom. PROCESS is a PID, an id "
		 "as shown by gilscope ls, or part of a program's name. If the process is already being observed, on this "
		 "machine or another, top reads its data from Redis; otherwise it attaches to it until you quit, as "
		 "gilscope attach does, history included (--no-store: without). Without PROCESS it lists the processes to "
		 "choose from. Press ? for the keys.",
	.options = {OPTION_INTERVAL, OPTION_MODE, OPTION_LOOK_RATE, OPTION_APP, OPTION_MAX_OVERHEAD, OPTION_REDIS,
		    OPTION_PASSWORD_FILE, OPTION_SENTINEL_PASSWORD_FILE, OPTION_PREFIX, OPTION_NO_STORE, OPTION_STACKS},
	.max_args = 1,
	.reads_processes = true,
	.run = run,
};
