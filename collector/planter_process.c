/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The planter's own life: see planter.h. One thread obeys the orders of all beds, one after the other; what is lifted without
 * waiting is lifted by threads of its own.
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
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "caps.h"
#include "log.h"

#define DROP_STACK ((size_t)128 * 1024)
#define BEDS_MAX 64 /* at a time: struct probes that exist at once */

/* What one struct planter has planted. */
struct bed {
	int socket;
	struct uprobe_link **plants; /* by link number - 1; NULL: free */
	uint32_t n;
};

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

static void uproot(struct uprobe_link **plant)
{
	uprobe_link__close(*plant);
	*plant = NULL;
}

static int keep(struct bed *bed, struct uprobe_link *plant, uint32_t *ret)
{
	struct uprobe_link **grown;

	for (uint32_t i = 0; i < bed->n; i++)
		if (!bed->plants[i]) {
			bed->plants[i] = plant;
			*ret = i + 1;
			return 0;
		}
	grown = reallocarray(bed->plants, bed->n + 1, sizeof(struct uprobe_link *));
	if (!grown)
		return -ENOMEM;
	bed->plants = grown;
	bed->plants[bed->n++] = plant;
	*ret = bed->n;
	return 0;
}

struct planting {
	struct order *order;
	const int *fds;
	struct uprobe_link *ret;
};

static int open_link(void *arg)
{
	struct planting *p = arg;
	struct uprobe_place place = {.image_fd = p->fds[1], .pid = p->order->pid};
	struct uprobe_sites sites = {
		.offsets = p->order->offsets, .cookies = p->order->cookies, .n = p->order->sites_n,
	};

	return uprobe_link__open(p->fds[0], &place, &sites, p->order->multi, &p->ret);
}

static int plant(struct bed *bed, struct order *order, const int *fds, struct answer *answer)
{
	struct planting planting = {.order = order, .fds = fds};
	struct deed deed = {open_link, &planting, order->multi ? PLANTER_MULTI : PLANTER_PERF};
	int err = carry_out(&deed, answer);

	err = err ?: keep(bed, planting.ret, &answer->link);
	if (err)
		uproot(&planting.ret);
	return err;
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

static void *drop_thread(void *plant)
{
	uprobe_link__close(plant);
	count_dropping(-1);
	return NULL;
}

static void drop(struct bed *bed, uint32_t link)
{
	struct uprobe_link *plant;
	pthread_attr_t attr;
	pthread_t thread;
	bool started;

	if (!link || link > bed->n || !bed->plants[link - 1])
		return;
	plant = bed->plants[link - 1];
	bed->plants[link - 1] = NULL;
	count_dropping(1);
	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	pthread_attr_setstacksize(&attr, DROP_STACK);
	started = pthread_create(&thread, &attr, drop_thread, plant) == 0;
	pthread_attr_destroy(&attr);
	if (!started)
		drop_thread(plant);
}

static void lift(struct bed *bed, uint32_t link)
{
	if (link && link <= bed->n)
		uproot(&bed->plants[link - 1]);
}

/* ---- timers ---- */

struct timing {
	const struct order *order;
	int ret_fd;
};

static int open_timer(void *arg)
{
	struct timing *t = arg;
	struct perf_event_attr attr = {
		.type = PERF_TYPE_SOFTWARE, .size = sizeof(attr), .config = PERF_COUNT_SW_TASK_CLOCK,
		.sample_period = t->order->period_ns, .disabled = 1,
	};

	t->ret_fd = (int)syscall(SYS_perf_event_open, &attr, t->order->pid, -1, -1, PERF_FLAG_FD_CLOEXEC);
	return t->ret_fd < 0 ? -errno : 0;
}

static int start_timer(const struct order *order, struct answer *answer, int *ret_fd)
{
	struct timing timing = {.order = order, .ret_fd = -1};
	int err = carry_out(&(struct deed){open_timer, &timing, PLANTER_TIMER}, answer);

	*ret_fd = timing.ret_fd;
	return err;
}

/* ---- orders ---- */

/* *ret_fd: what goes along with the answer, or -1. */
static void obey(struct bed *bed, struct order *order, const int *fds, struct answer *answer, int *ret_fd)
{
	switch (order->kind) {
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

static struct {
	struct bed beds[BEDS_MAX];
	nfds_t n;
} garden;

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

void planter_process__main(int control)
{
	struct pollfd wanted[BEDS_MAX + 1];

	step_aside(control);
	begin_rights();
	raise_descriptor_limit();
	while (control >= 0 || garden.n) {
		nfds_t n = garden.n;

		for (nfds_t i = 0; i < n; i++)
			wanted[i] = (struct pollfd){.fd = garden.beds[i].socket, .events = POLLIN};
		wanted[n] = (struct pollfd){.fd = control, .events = POLLIN};
		if (poll(wanted, n + 1, -1) < 0)
			continue;
		serve_all(wanted);
		if (wanted[n].revents && !take_bed(control)) {
			close(control);
			control = -1;
		}
	}
	_exit(0);
}
