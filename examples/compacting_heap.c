/*
 * A compacting heap. It stands for collectors and object stores that put a guard page behind every block
 * and give freed blocks back to the system. A large block at the front has died; everything behind it
 * slides down as it is, by one distance, so that one addition corrects every pointer.
 *
 *          room of the dead block            blocks b, guards g, holes
 *        |........................|b b|g|b|g|     |b b b|g|   |b|g|
 *
 *                 |   one mremap, MAYMOVE|FIXED   |
 *                 v                               v
 *        |b b|g|b|g|.....|b b b|g|...|b|g|........|  (given back)
 *
 * Dots are address space the heap has reserved (PROT_NONE). Those under the holes' targets must stay, or
 * the next mmap of anybody may land inside the heap.
 */
#define _GNU_SOURCE
#include "common.h"

#define BLOCK(n, size) { "block " #n, size, PROT_READ | PROT_WRITE }
#define GUARD(n) { "guard " #n, 1, PROT_NONE }

static const struct piece survivors[] = {
	BLOCK(0, 2), GUARD(0), BLOCK(1, 1), GUARD(1), { "hole", 3, HOLE },
	BLOCK(2, 3), GUARD(2), { "hole", 2, HOLE }, BLOCK(3, 1), GUARD(3),
};

enum { DEAD_BLOCK_PAGES = 20 };

/* What a block starts with; the rest of it is the owner's. */
struct block {
	struct block *next;
	size_t pages;
	char payload[];
};

static bool is_block(const struct piece *piece)
{
	return piece->prot == (PROT_READ | PROT_WRITE);
}

/* Builds the blocks of the table and returns the first one, the others linked to it in address order. */
static struct block *populate(char *start)
{
	struct block *root = NULL, **link = &root;

	for (size_t i = 0; i < COUNT(survivors); start += bytes(survivors[i++].pages)) {
		if (!is_block(&survivors[i]))
			continue;

		struct block *block = (struct block *)start;

		block->pages = survivors[i].pages;
		fill(block->payload, bytes(block->pages) - sizeof *block, i);
		*link = block;
		link = &block->next;
	}
	return root;
}

/* Every pointer still leads to where its block was: `distance` lower is where it is. */
static struct block *correct_pointers(struct block *root, size_t distance)
{
	struct block **link = &root;

	while (*link) {
		*link = (struct block *)((char *)*link - distance);
		link = &(*link)->next;
	}
	return root;
}

/* All that can be checked by the table alone. The links are not to be trusted before. */
static void check_pieces(char *start)
{
	for (size_t i = 0; i < COUNT(survivors); start += bytes(survivors[i++].pages)) {
		const struct piece *piece = &survivors[i];

		if (piece->prot != HOLE)
			expect_prot(piece->name, start, piece->pages, piece->prot);
		if (is_block(piece)) {
			const struct block *block = (struct block *)start;

			expect_pattern(piece->name, block->payload, bytes(piece->pages) - sizeof *block, i);
		}
	}
}

/* Follows the links from block to block and returns how many there are. */
static size_t check_links(const struct block *block, const char *start)
{
	size_t blocks = 0;

	for (size_t i = 0; i < COUNT(survivors); start += bytes(survivors[i++].pages)) {
		if (!is_block(&survivors[i]))
			continue;
		if ((const char *)block != start || block->pages != survivors[i].pages)
			die_corrupt("block %zu: the link to it leads elsewhere", blocks);
		block = block->next;
		blocks++;
	}
	if (block)
		die_corrupt("block %zu: it is the last one, but links to another", blocks - 1);
	return blocks;
}

int main(void)
{
	struct totals moved = add_up(survivors, COUNT(survivors));
	size_t distance = bytes(DEAD_BLOCK_PAGES), length = bytes(moved.pages);
	char *heap = reserve(DEAD_BLOCK_PAGES + moved.pages);
	char *fragmented = heap + distance;

	map_pieces(fragmented, survivors, COUNT(survivors));
	struct block *root = populate(fragmented);
	protect_pieces(fragmented, survivors, COUNT(survivors));

	if (mremap(fragmented, length, length, MREMAP_MAYMOVE | MREMAP_FIXED, heap) != heap)
		die_unmoved(moved);

	check_pieces(heap);
	expect_holes_reserved(heap, survivors, COUNT(survivors));
	size_t blocks = check_links(correct_pointers(root, distance), heap);
	expect_unmapped("old place of the blocks", fragmented, moved.pages);
	printf("compacting_heap: slid %zu blocks with their guards and %zu holes, %zu pages, down by %d pages\n",
	       blocks, moved.gaps, moved.pages, DEAD_BLOCK_PAGES);
	return 0;
}
