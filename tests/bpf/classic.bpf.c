/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The design that suggests itself, for comparison: take_gil's entry and return, drop_gil's entry, sums in a hash map by
 * thread. It reports time in take_gil as wait, contended or not.
 */
#include <linux/bpf.h>
#include <linux/types.h>
#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "GPL";

struct classic {
	__u64 entered, taken, wait_ns, hold_ns, n;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, __u32);
	__type(value, struct classic);
} sums SEC(".maps");

static __always_inline struct classic *mine(void)
{
	__u32 tid = (__u32)bpf_get_current_pid_tgid();
	struct classic fresh = {}, *sum = bpf_map_lookup_elem(&sums, &tid);

	if (sum)
		return sum;
	bpf_map_update_elem(&sums, &tid, &fresh, BPF_ANY);
	return bpf_map_lookup_elem(&sums, &tid);
}

SEC("uprobe")
int take_entry(void *ctx)
{
	struct classic *sum = mine();

	if (sum)
		sum->entered = bpf_ktime_get_ns();
	return 0;
}

SEC("uretprobe")
int take_return(void *ctx)
{
	struct classic *sum = mine();

	if (!sum)
		return 0;
	sum->taken = bpf_ktime_get_ns();
	sum->wait_ns += sum->taken - sum->entered;
	sum->n++;
	return 0;
}

SEC("uprobe")
int drop_entry(void *ctx)
{
	struct classic *sum = mine();

	if (sum && sum->taken)
		sum->hold_ns += bpf_ktime_get_ns() - sum->taken;
	return 0;
}
