/*
 * A snapshot that moves the pages away, as by metric stores, write-behind caches and collectors
 * that hand over the counts of an interval and start the next one from zero. With MREMAP_DONTUNMAP
 * nothing is copied, and the live VMAs stay mapped and are empty.
 *
 *   live      |shard|guard|  shard  |  gap  |shard|labels|      zeros after the move
 *                |           |                |      |
 *                |  one mremap, MAYMOVE|FIXED|DONTUNMAP
 *                v           v                v      v
 *   snapshot  |shard|guard|  shard  |.......|shard|labels|      the counts
 *
 * The memory is private and anonymous, since Linux 5.7 to 5.12 supports MREMAP_DONTUNMAP for no
 * other kind.
 */
#define _GNU_SOURCE
#include "common.h"

static const struct part store[] = {
	{ "shard 0", 2, PROT_READ | PROT_WRITE }, { "guard", 1, PROT_NONE },
	{ "shard 1", 3, PROT_READ | PROT_WRITE }, { "gap", 2, GAP },
	{ "shard 2", 1, PROT_READ | PROT_WRITE }, { "labels", 1, PROT_READ },
};

enum { FIRST_INTERVAL = 10, SECOND_INTERVAL = 20 };

static void expect_emptied(char *start)
{
	for (size_t i = 0; i < COUNT(store); start += bytes(store[i++].pages)) {
		if (store[i].prot == GAP) {
			expect_unmapped("live gap", start, store[i].pages);
			continue;
		}
		expect_prot(store[i].name, start, store[i].pages, store[i].prot);
		if (store[i].prot & PROT_READ)
			expect_zeros(store[i].name, start, bytes(store[i].pages));
	}
}

/* Counts again into the emptied shards. */
static void count_on(char *start, uint64_t seed)
{
	for (size_t i = 0; i < COUNT(store); start += bytes(store[i++].pages))
		if (store[i].prot == (PROT_READ | PROT_WRITE)) {
			fill(start, bytes(store[i].pages), seed + i);
			expect_pattern(store[i].name, start, bytes(store[i].pages), seed + i);
		}
}

int main(void)
{
	struct totals moved = add_up(store, COUNT(store));
	size_t length = bytes(moved.pages);
	int flags = MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP;
	char *live = reserve(moved.pages), *snapshot = reserve(moved.pages);

	map_parts(live, store, COUNT(store));
	fill_parts(live, store, COUNT(store), FIRST_INTERVAL);
	protect_parts(live, store, COUNT(store));

	if (mremap(live, length, length, flags, snapshot) != snapshot)
		die_unmoved(moved);

	expect_parts(snapshot, store, COUNT(store), FIRST_INTERVAL);
	expect_gaps_reserved(snapshot, store, COUNT(store));
	expect_emptied(live);
	count_on(live, SECOND_INTERVAL);
	expect_parts(snapshot, store, COUNT(store), FIRST_INTERVAL);
	printf("snapshot: took %zu mappings, %zu pages, in one call; the live ones stayed and read as zeros\n",
	       moved.vmas, moved.pages);
	return 0;
}
