/*
 * Moves of partial VMAs in a signal handler, as by collectors, profilers and live patchers that
 * work on a timer's tick. The handler may interrupt anything, malloc included, and runs on a small
 * alternate stack. Each tick evacuates the live window of one region, which starts inside the
 * region's first VMA and ends inside its last one.
 *
 *                  window
 *               <---------->
 *        |  head   |log|gap|  tail  |guard|       a region
 *               |    |        |
 *               |    |  one mremap a tick, MAYMOVE|FIXED
 *               v    v        v
 *             |head|log|...|tail|                 its target in to-space
 *
 *        | he |                |il|guard|         the rest of the region
 */
#define _GNU_SOURCE
#include <signal.h>
#include <sys/auxv.h>
#include <sys/time.h>

#ifdef __x86_64__
#include <cpuid.h>
#endif

#include "common.h"

#ifndef AT_MINSIGSTKSZ
#define AT_MINSIGSTKSZ 51
#endif

static const struct part region[] = {
	{ "head", 4, PROT_READ | PROT_WRITE },
	{ "log", 2, PROT_READ },
	{ "gap", 1, GAP },
	{ "tail", 3, PROT_READ | PROT_WRITE },
	{ "guard", 1, PROT_NONE },
};

/* The window as parts. The region keeps a rest on either side of it. */
static const struct part window[] = {
	{ "evacuated head", 2, PROT_READ | PROT_WRITE },
	{ "evacuated log", 2, PROT_READ },
	{ "gap", 1, GAP },
	{ "evacuated tail", 2, PROT_READ | PROT_WRITE },
};

enum { STAY_BEFORE = 2, STAY_AFTER = 1 }; /* pages of head and of tail */
enum { REGIONS = 100, TICK_MICROSECONDS = 200 };

/* The value of SIGSTKSZ when it was a constant. */
#ifdef __aarch64__
enum { CLASSIC_STACK = 16384 };
#else
enum { CLASSIC_STACK = 8192 };
#endif

/* Written by the handler, read by main: regions evacuated so far, and why it stopped. */
static volatile sig_atomic_t evacuated, refused, off_stack;

/* Constant after the timer has started. */
static struct totals moved;
static size_t window_length, window_start, region_length;
static char *from_space, *to_space, *stack;
static size_t stack_length;

static char *window_of(size_t i)
{
	return from_space + i * region_length + window_start;
}

static char *home_of(size_t i)
{
	return to_space + i * window_length;
}

static void evacuate_one(int signal)
{
	int interrupted_errno = errno;
	char *here = (char *)__builtin_frame_address(0);

	(void)signal;
	if (evacuated == REGIONS || refused)
		return;
	if (here < stack || here >= stack + stack_length)
		off_stack = 1;

	char *old = window_of((size_t)evacuated), *new = home_of((size_t)evacuated);

	if (mremap(old, window_length, window_length, MREMAP_MAYMOVE | MREMAP_FIXED, new) == new)
		evacuated++;
	else
		refused = errno;
	errno = interrupted_errno;
}

/* The size of a signal's frame, most of which the processor's registers take. Linux says it since
 * 5.14, gVisor does not. */
static size_t frame_size(void)
{
	size_t frame = getauxval(AT_MINSIGSTKSZ);

#ifdef __x86_64__
	enum { XSAVE_LEAF = 0xd, REST = 1024 };
	unsigned a, size = 0, c, d;

	if (!frame && __get_cpuid_count(XSAVE_LEAF, 0, &a, &size, &c, &d))
		frame = size + REST;
#endif
	return frame;
}

/* Of the classic size, or more if the processor's registers take half of that. */
static void prepare_stack(void)
{
	size_t frame = frame_size();
	size_t wanted = frame > CLASSIC_STACK / 2 ? frame + CLASSIC_STACK / 2 : CLASSIC_STACK;
	size_t pages = (wanted + bytes(1) - 1) / bytes(1);

	stack_length = wanted;
	stack = reserve(pages);
	map_over(stack, pages, PROT_READ | PROT_WRITE);

	stack_t alternate = { .ss_sp = stack, .ss_size = stack_length };

	if (sigaltstack(&alternate, NULL) != 0)
		die("sigaltstack");
}

static void prepare_spaces(void)
{
	moved = add_up(window, COUNT(window));
	window_length = bytes(moved.pages);
	window_start = bytes(STAY_BEFORE);
	region_length = bytes(add_up(region, COUNT(region)).pages);
	from_space = reserve(REGIONS * add_up(region, COUNT(region)).pages);
	to_space = reserve(REGIONS * moved.pages);

	for (size_t i = 0; i < REGIONS; i++) {
		char *start = from_space + i * region_length;

		map_parts(start, region, COUNT(region));
		fill(start, bytes(STAY_BEFORE), i);
		fill_parts(start + window_start, window, COUNT(window), REGIONS + i);
		fill(start + window_start + window_length, bytes(STAY_AFTER), i);
		protect_parts(start, region, COUNT(region));
	}
}

static void set_timer(long microseconds)
{
	struct itimerval tick = { .it_interval.tv_usec = microseconds, .it_value.tv_usec = microseconds };

	if (setitimer(ITIMER_REAL, &tick, NULL) != 0)
		die("setitimer");
}

static void start_ticking(void)
{
	struct sigaction action = { .sa_handler = evacuate_one, .sa_flags = SA_ONSTACK | SA_RESTART };

	if (sigaction(SIGALRM, &action, NULL) != 0)
		die("sigaction");
	set_timer(TICK_MICROSECONDS);
}

/* Work that the ticks must not disturb. They interrupt it inside the allocator most of the time. */
static void work_until_evacuated(void)
{
	enum { KEPT = 16 };
	char *kept[KEPT] = { NULL };
	size_t lengths[KEPT] = { 0 };

	for (size_t turn = 0; evacuated < REGIONS && !refused; turn++) {
		size_t slot = turn % KEPT;

		expect_pattern("block of malloc", kept[slot], lengths[slot], slot);
		lengths[slot] = 8 * (1 + turn * 37 % 400);
		free(kept[slot]);
		kept[slot] = malloc(lengths[slot]);
		if (!kept[slot])
			die("malloc");
		fill(kept[slot], lengths[slot], slot);
	}
	for (size_t slot = 0; slot < KEPT; slot++)
		free(kept[slot]);
}

/* Checks the moved window and the rest of the region, and that the source is unmapped. */
static void check_region(size_t i)
{
	char *before = from_space + i * region_length, *after = window_of(i) + window_length;

	expect_prot("head that stays", before, STAY_BEFORE, PROT_READ | PROT_WRITE);
	expect_pattern("head that stays", before, bytes(STAY_BEFORE), i);
	expect_unmapped("source of the window", window_of(i), moved.pages);
	expect_prot("tail that stays", after, STAY_AFTER, PROT_READ | PROT_WRITE);
	expect_pattern("tail that stays", after, bytes(STAY_AFTER), i);
	expect_parts(home_of(i), window, COUNT(window), REGIONS + i);
	expect_gaps_reserved(home_of(i), window, COUNT(window));
}

int main(void)
{
	prepare_stack();
	prepare_spaces();
	start_ticking();
	work_until_evacuated();
	set_timer(0);

	if (refused) {
		report_refused_move(moved, refused);
		return EXIT_REFUSED;
	}
	if (off_stack)
		die_corrupt("a handler ran outside of its alternate stack");
	for (size_t i = 0; i < REGIONS; i++)
		check_region(i);
	printf("signal_moves: evacuated %d windows from a signal handler, %zu pages of %zu mappings each\n", REGIONS,
	       moved.pages, moved.vmas);
	return 0;
}
