/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The planter's own life: see planter.h. One thread obeys the orders of all beds, one after the other; what is lifted without
 * waiting is lifted by threads of its own. Between orders it feels gilscope's pulse (pulse.h), and lifts all when there is none.
 * What must stay where it is, planter_keep.c keeps, and this process with it.
 */
#include "planter_inside.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/perf_event.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>

#include "collector/base/clock.h"
#include "collector/base/log.h"
#include "collector/process/caps.h"
#include "collector/process/errand.h"
#include "collector/process/precedence.h"
#include "collector/process/pulse.h"

#define DROP_STACK ((size_t)128 * 1024)
#define TIMER_WAIT_MS 200
#define BEDS_MAX 64 /* at a time: struct probes that exist at once */

/* What one struct planter has planted at once. */
struct plant {
	bool used;                /* its number is nobody else's */
	struct uprobe_link *link; /* NULL: lifted before its owner said so */
	struct planted what;
};

struct bed {
	int socket;
	struct plant *plants; /* by link number - 1 */
	uint32_t n;
	uint32_t *being_lifted; /* the programs' word; NULL: not known */
	struct kept_sites kept; /* not told of yet */
};

static struct {
	struct bed beds[BEDS_MAX];
	nfds_t n;
} garden;

/* ---- rights: as few as will do ---- */

static struct {
	uint64_t permitted;
	uint64_t taken[PLANTER_DEEDS]; /* by each deed when it succeeded */
	bool succeeded[PLANTER_DEEDS];
} rights;

/* 5.15 asks CAP_BPF for every bpf() call where kernel.unprivileged_bpf_disabled is set, for that of a link, too; 6.1 does not. */
static const uint64_t ladder[] = {0, CAP_PERFMON_BIT, CAP_BPF_BIT | CAP_PERFMON_BIT, CAP_SYS_ADMIN_BIT};

/* Nothing of them is in force but while a deed is done. */
static void begin_rights(void)
{
	rights.permitted = caps__of_planter(caps__permitted());
	caps__seal();
	if (caps__set(0, rights.permitted))
		_exit(1);
}

struct deed {
	int (*run)(void *arg);
	void *arg;
	enum planter_deed kind;
};

static int try_with(const struct deed *deed, uint64_t effective, struct answer *answer)
{
	int err = caps__set(effective, rights.permitted);

	answer->rights = effective;
	err = err ?: deed->run(deed->arg);
	if (effective && caps__set(0, rights.permitted))
		_exit(1);
	return err;
}

static bool is_for_want_of_rights(int err)
{
	return err == -EPERM || err == -EACCES;
}

/* With what it took the last time, else from nothing upwards. */
static int carry_out(const struct deed *deed, struct answer *answer)
{
	int err = -EACCES;

	for (size_t i = 0; i < sizeof(ladder) / sizeof(ladder[0]) && is_for_want_of_rights(err); i++) {
		if ((ladder[i] & rights.permitted) != ladder[i])
			continue;
		if (rights.succeeded[deed->kind] && ladder[i] != rights.taken[deed->kind])
			continue;
		err = try_with(deed, ladder[i], answer);
	}
	if (!err) {
		rights.taken[deed->kind] = answer->rights;
		rights.succeeded[deed->kind] = true;
	}
	return err;
}

static int shed(struct answer *answer)
{
	uint64_t keep = 0;
	int err;

	for (int i = 0; i < PLANTER_DEEDS; i++)
		keep |= rights.taken[i];
	err = caps__set(0, rights.permitted & keep);
	if (!err)
		rights.permitted &= keep;
	answer->rights = rights.permitted;
	return err;
}

/* ---- planting ---- */

static struct plant *plant_of(struct bed *bed, uint32_t link)
{
	return link && link <= bed->n && bed->plants[link - 1].used ? &bed->plants[link - 1] : NULL;
}

/* Whoever takes the link has it lifted. What must stay is kept. NULL: it is lifted already. */
static struct uprobe_link *take_out(struct bed *bed, struct plant *plant)
{
	struct uprobe_link *link = plant->link;

	plant->link = NULL;
	if (link)
		planted__mind(&plant->what, &bed->kept);
	planted__clear(&plant->what);
	return link;
}

static struct plant *find_room(struct bed *bed)
{
	struct plant *grown;

	for (uint32_t i = 0; i < bed->n; i++)
		if (!bed->plants[i].used)
			return &bed->plants[i];
	grown = reallocarray(bed->plants, bed->n + 1, sizeof(*grown));
	if (!grown)
		return NULL;
	bed->plants = grown;
	bed->plants[bed->n] = (struct plant){.used = false};
	return &bed->plants[bed->n++];
}

struct planting {
	int program_fd;
	const struct uprobe_place *place;
	const struct uprobe_sites *sites;
	bool multi;
	struct uprobe_link **ret;
};

static int open_link(void *arg)
{
	const struct planting *p = arg;

	return uprobe_link__open(p->program_fd, p->place, p->sites, p->multi, p->ret);
}

int planter_process__open(int program_fd, const struct uprobe_place *place, const struct uprobe_sites *sites, bool multi,
			  struct uprobe_link **ret)
{
	struct planting planting = {program_fd, place, sites, multi, ret};
	struct answer answer;

	return carry_out(&(struct deed){open_link, &planting, multi ? PLANTER_MULTI : PLANTER_PERF}, &answer);
}

static int plant(struct bed *bed, struct order *order, const int *fds, struct answer *answer)
{
	struct uprobe_place place = {.image_fd = fds[1], .pid = order->pid, .about = order->about, .ino = order->ino};
	struct uprobe_sites sites = {
		.offsets = order->offsets, .cookies = order->cookies, .texts = order->texts, .n = order->sites_n,
	};
	struct plant *plant = find_room(bed);
	struct planting planting = {fds[0], &place, &sites, order->multi, plant ? &plant->link : NULL};
	struct deed deed = {open_link, &planting, order->multi ? PLANTER_MULTI : PLANTER_PERF};
	int err = plant ? planted__init(&plant->what, &place, order->texts, order->sites_n, order->multi) : -ENOMEM;

	if (err)
		return err;
	err = carry_out(&deed, answer);
	if (err) {
		planted__clear(&plant->what);
		return err;
	}
	plant->used = true;
	answer->link = (uint32_t)(plant - bed->plants) + 1;
	return 0;
}

/* ---- lifting without waiting: each takes RCU periods, which those that wait at once share ---- */

static struct {
	pthread_mutex_t mutex;
	pthread_cond_t none_left;
	uint32_t n;
} dropping = {.mutex = PTHREAD_MUTEX_INITIALIZER, .none_left = PTHREAD_COND_INITIALIZER};

static void count_dropping(int change)
{
	pthread_mutex_lock(&dropping.mutex);
	dropping.n = (uint32_t)((int)dropping.n + change);
	if (!dropping.n)
		pthread_cond_broadcast(&dropping.none_left);
	pthread_mutex_unlock(&dropping.mutex);
}

static void settle(void)
{
	pthread_mutex_lock(&dropping.mutex);
	while (dropping.n)
		pthread_cond_wait(&dropping.none_left, &dropping.mutex);
	pthread_mutex_unlock(&dropping.mutex);
}

static void *drop_thread(void *link)
{
	uprobe_link__close(link);
	count_dropping(-1);
	return NULL;
}

static void close_aside(struct uprobe_link *link)
{
	pthread_attr_t attr;
	pthread_t thread;
	bool started;

	count_dropping(1);
	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	pthread_attr_setstacksize(&attr, DROP_STACK);
	started = pthread_create(&thread, &attr, drop_thread, link) == 0;
	pthread_attr_destroy(&attr);
	if (!started)
		drop_thread(link);
}

/* It keeps its number until its owner says that it is lifted. */
static void drop_early(struct bed *bed, struct plant *plant)
{
	struct uprobe_link *link = take_out(bed, plant);

	if (link)
		close_aside(link);
}

static void drop(struct bed *bed, uint32_t link)
{
	struct plant *plant = plant_of(bed, link);

	if (!plant)
		return;
	drop_early(bed, plant);
	plant->used = false;
}

static void lift(struct bed *bed, uint32_t link)
{
	struct plant *plant = plant_of(bed, link);

	if (!plant)
		return;
	uprobe_link__close(take_out(bed, plant));
	plant->used = false;
}

/* ---- timers ---- */

struct timing {
	const struct order *order;
	int ret_fd;
};

/* A thread in the middle of an exec that does not end keeps who opens its event waiting (exec_update_lock), but for signals. */
static void limit_wait(unsigned int ms)
{
	const struct itimerval limit = {.it_value = {.tv_usec = (suseconds_t)ms * 1000}};

	setitimer(ITIMER_REAL, &limit, NULL);
}

static void interrupt(int signal)
{
	(void)signal;
}

static int open_timer(void *arg)
{
	struct timing *t = arg;
	struct perf_event_attr attr = {
		.type = PERF_TYPE_SOFTWARE, .size = sizeof(attr), .config = PERF_COUNT_SW_TASK_CLOCK,
		.sample_period = t->order->period_ns, .disabled = 1, .inherit = 1, .inherit_thread = 1,
	};
	int err;

	limit_wait(TIMER_WAIT_MS);
	t->ret_fd = (int)syscall(SYS_perf_event_open, &attr, t->order->pid, -1, -1, PERF_FLAG_FD_CLOEXEC);
	if (t->ret_fd < 0 && errno == EINVAL) { /* before 5.13 */
		attr.inherit = attr.inherit_thread = 0;
		t->ret_fd = (int)syscall(SYS_perf_event_open, &attr, t->order->pid, -1, -1, PERF_FLAG_FD_CLOEXEC);
	}
	err = t->ret_fd < 0 ? -errno : 0;
	limit_wait(0);
	return err;
}

static int start_timer(const struct order *order, struct answer *answer, int *ret_fd)
{
	struct timing timing = {.order = order, .ret_fd = -1};
	int err = carry_out(&(struct deed){open_timer, &timing, PLANTER_TIMER}, answer);

	*ret_fd = timing.ret_fd;
	return err;
}

/* ---- what the programs are told ---- */

/* A word of a map in our memory, or NULL. */
static uint32_t *word_of(int map_fd, uint32_t at)
{
	uint32_t page = (uint32_t)sysconf(_SC_PAGESIZE), in_page = at % page;
	char *memory = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_SHARED, map_fd, at - in_page);

	return memory == MAP_FAILED ? NULL : (uint32_t *)(memory + in_page);
}

static void unmap_word(uint32_t *word)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);

	if (word)
		munmap((void *)((uintptr_t)word & ~(page - 1)), page);
}

/* Before the first probe goes: those that are left would see releases of holds of which they saw no beginning. */
static void tell_programs(void)
{
	for (nfds_t i = 0; i < garden.n; i++)
		if (garden.beds[i].being_lifted)
			__atomic_store_n(garden.beds[i].being_lifted, 1, __ATOMIC_SEQ_CST);
}

/* ---- orders ---- */

/* *ret_fd: what goes along with the answer, or -1. */
static void obey(struct bed *bed, struct order *order, const int *fds, struct answer *answer, int *ret_fd)
{
	switch (order->kind) {
	case ORDER_IDLE:
		planter_keep__set_idle(fds[0]);
		unmap_word(bed->being_lifted);
		bed->being_lifted = word_of(fds[1], order->word_at);
		break;
	case ORDER_PLANT:
		answer->err = plant(bed, order, fds, answer);
		break;
	case ORDER_LIFT:
		lift(bed, order->link);
		break;
	case ORDER_DROP:
		drop(bed, order->link);
		break;
	case ORDER_SETTLE:
		settle();
		break;
	case ORDER_TIMER:
		answer->err = start_timer(order, answer, ret_fd);
		break;
	case ORDER_SHED:
		answer->err = shed(answer);
		break;
	case ORDER_COMPARE:
		answer->err = everybody__compare(order->texts, order->sites_n, order->ino, clock__mono_ns() + LOOK_NS,
						 &answer->differs);
		break;
	case ORDER_KEPT:
		answer->kept_of = planter_keep__count_of(order->about);
		break;
	}
}

static void close_all(const int *fds)
{
	for (int i = 0; i < PACKET_FDS_MAX; i++)
		if (fds[i] >= 0)
			close(fds[i]);
}

/* False: nobody is there any more. */
static bool serve(struct bed *bed)
{
	struct order order;
	struct answer answer = {0};
	int fds[PACKET_FDS_MAX], back = -1;
	bool heard = packet__receive(bed->socket, &order, sizeof(order), fds), answered;

	if (heard)
		obey(bed, &order, fds, &answer, &back);
	answer.kept = bed->kept;
	answer.kept_all = (uint32_t)planter_keep__count();
	bed->kept = (struct kept_sites){0};
	close_all(fds);
	answered = heard && !packet__send(bed->socket, &answer, sizeof(answer), &back, 1);
	if (back >= 0)
		close(back);
	return answered;
}

/* Who stops its planter waits for the end of the socket: nothing of it is planted then. */
static void clear(struct bed *bed)
{
	for (uint32_t link = 1; link <= bed->n; link++)
		drop(bed, link);
	settle();
	free(bed->plants);
	unmap_word(bed->being_lifted);
	close(bed->socket);
}

/* ---- the process ---- */

/* Somebody may wait for the end of a pipe or of a connection whose other side we inherited. */
static void let_go_of_pipes(int except)
{
	DIR *dir = opendir("/proc/self/fd");
	const struct dirent *entry;
	struct stat st;

	while (dir && (entry = readdir(dir))) {
		int fd = atoi(entry->d_name); /* "." and "..": 0 */

		if (fd > 2 && fd != except && !fstat(fd, &st) && (S_ISSOCK(st.st_mode) || S_ISFIFO(st.st_mode)))
			close(fd);
	}
	if (dir)
		closedir(dir);
}

/* Out of reach of the terminal's signals, holding nobody's pipe open. */
static void step_aside(int control)
{
	const int signals[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGPIPE};
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	let_go_of_pipes(control);

	setsid();
	prctl(PR_SET_NAME, "gilscope-probes");
	for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
		signal(signals[i], SIG_IGN);
	sigaction(SIGALRM, &(struct sigaction){.sa_handler = interrupt}, NULL); /* no SA_RESTART */
	for (int fd = 0; null >= 0 && fd <= 2; fd++)
		dup2(null, fd);
}

/* Without uprobe_multi each site takes one. */
static void raise_descriptor_limit(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit))
		return;
	limit.rlim_cur = limit.rlim_max;
	if (setrlimit(RLIMIT_NOFILE, &limit))
		log_debug("planter: RLIMIT_NOFILE stays as it is");
}

/* False: no more will come. */
static bool take_bed(int control)
{
	int fds[PACKET_FDS_MAX];
	char byte;

	if (!packet__receive(control, &byte, 1, fds))
		return false;
	if (garden.n < BEDS_MAX && fds[0] >= 0)
		garden.beds[garden.n++] = (struct bed){.socket = fds[0]};
	else
		close_all(fds); /* it finds nobody there */
	return true;
}

static void serve_all(const struct pollfd *wanted)
{
	nfds_t left = 0;

	for (nfds_t i = 0; i < garden.n; i++)
		if (!wanted[i].revents || serve(&garden.beds[i]))
			garden.beds[left++] = garden.beds[i];
		else
			clear(&garden.beds[i]);
	garden.n = left;
}

/* All plants of all beds, at once. */
static void lift_all(void)
{
	for (nfds_t i = 0; i < garden.n; i++)
		for (uint32_t link = 1; link <= garden.beds[i].n; link++)
			if (plant_of(&garden.beds[i], link))
				drop_early(&garden.beds[i], plant_of(&garden.beds[i], link));
	settle();
}

/* Our owner says nothing any more, and does nothing: there is nobody for whom the probes count. */
static void feel_pulse(void)
{
	if (!pulse__is_expected() || !pulse__is_lost(clock__mono_ns()))
		return;
	pulse__note_lifting();
	tell_programs();
	lift_all();
	pulse__note_lost(clock__mono_ns());
}

/* Who waits for our end waits no longer. */
static void say_whether_staying(int control)
{
	char byte = 0;

	if (planter_keep__count() && packet__send(control, &byte, 1, NULL, 0))
		log_debug("planter: nobody waits for its end");
}

void planter_process__main(int control)
{
	struct pollfd wanted[BEDS_MAX + 1];
	int ready;

	step_aside(control);
	precedence__take();
	errand__prepare(); /* its readers take rights that this process does not keep */
	begin_rights();
	raise_descriptor_limit();
	while (control >= 0 || garden.n || planter_keep__count()) {
		nfds_t n = garden.n;

		for (nfds_t i = 0; i < n; i++)
			wanted[i] = (struct pollfd){.fd = garden.beds[i].socket, .events = POLLIN};
		wanted[n] = (struct pollfd){.fd = control, .events = POLLIN};
		ready = poll(wanted, n + 1, garden.n || planter_keep__count() ? PULSE_LOOK_MS : -1);
		feel_pulse();
		planter_keep__mind_ends();
		if (ready <= 0)
			continue;
		serve_all(wanted);
		if (wanted[n].revents && !take_bed(control)) {
			say_whether_staying(control);
			close(control);
			control = -1;
		}
	}
	_exit(0);
}
