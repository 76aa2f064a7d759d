/*
 * An arena with mixed protections, relocated by one call, as by JIT compilers and image loaders.
 * Code that addresses its constants and variables relative to itself works anywhere, if all parts
 * move by the same distance and keep their protections.
 *
 *        |code r-x|constants r--|  hole  |variables rw-|guard ---|
 *             |          |                      |           |
 *             |  one mremap, MAYMOVE|FIXED      |           |
 *             v          v                      v           v
 *        |code r-x|constants r--|........|variables rw-|guard ---|
 *
 * The code runs before the move and after it. Each call adds a constant to a variable.
 */
#define _GNU_SOURCE
#include "common.h"

enum { CODE, CONSTANTS, ALIGNMENT_HOLE, VARIABLES, GUARD, PARTS };

static const struct part arena[PARTS] = {
	[CODE] = { "code", 1, PROT_READ | PROT_EXEC },
	[CONSTANTS] = { "constants", 1, PROT_READ },
	[ALIGNMENT_HOLE] = { "hole", 1, GAP },
	[VARIABLES] = { "variables", 2, PROT_READ | PROT_WRITE },
	[GUARD] = { "guard", 1, PROT_NONE },
};

enum { STEP = 7, CALLS = 6, CODE_BYTES = 32 };

/* Constants and variables start with the word that the code uses. A pattern fills the rest. */
struct section {
	uint32_t word, padding;
	char rest[];
};

static size_t section_offset(size_t part)
{
	return bytes(add_up(arena, part).pages);
}

static struct section *section(char *start, size_t part)
{
	return (struct section *)(start + section_offset(part));
}

static size_t rest_bytes(size_t part)
{
	return bytes(arena[part].pages) - sizeof(struct section);
}

/*
 * Writes the function `return variable += constant;`. `constant` and `variable` are distances from
 * its start.
 */
#if defined(__x86_64__)
static char *emit(char *at, unsigned opcode, char *code, ptrdiff_t target)
{
	int32_t from_next_instruction = (int32_t)(code + target - (at + 6));

	at[0] = (char)opcode;
	at[1] = 0x05; /* eax, [rip + disp32] */
	memcpy(at + 2, &from_next_instruction, sizeof from_next_instruction);
	return at + 6;
}

static void write_code(char *code, ptrdiff_t constant, ptrdiff_t variable)
{
	char *at = code;

	at = emit(at, 0x8b, code, variable); /* mov eax, [variable] */
	at = emit(at, 0x03, code, constant); /* add eax, [constant] */
	at = emit(at, 0x89, code, variable); /* mov [variable], eax */
	*at = (char)0xc3; /* ret */
}
#elif defined(__aarch64__)
static uint32_t load_literal(unsigned target_register, ptrdiff_t distance)
{
	return 0x18000000 | ((uint32_t)(distance >> 2) & 0x7ffff) << 5 | target_register;
}

static uint32_t address_of(unsigned target_register, ptrdiff_t distance)
{
	uint32_t low = (uint32_t)distance & 3, high = (uint32_t)(distance >> 2) & 0x7ffff;

	return 0x10000000 | low << 29 | high << 5 | target_register;
}

static void write_code(char *code, ptrdiff_t constant, ptrdiff_t variable)
{
	uint32_t instructions[] = {
		load_literal(0, variable - 0), /* ldr w0, variable */
		load_literal(1, constant - 4), /* ldr w1, constant */
		0x0b010000, /* add w0, w0, w1 */
		address_of(1, variable - 12), /* adr x1, variable */
		0xb9000020, /* str w0, [x1] */
		0xd65f03c0, /* ret */
	};

	memcpy(code, instructions, sizeof instructions);
}
#else
#error "write_code() knows the instructions of x86-64 and AArch64 only"
#endif

/* The function at the start of an arena. Its bytes do not depend on the arena's address. */
static void write_arena_code(char *code)
{
	write_code(code, (ptrdiff_t)section_offset(CONSTANTS), (ptrdiff_t)section_offset(VARIABLES));
}

static void build(char *start)
{
	struct section *constants = section(start, CONSTANTS), *variables = section(start, VARIABLES);

	map_parts(start, arena, PARTS);
	write_arena_code(start);
	constants->word = STEP;
	fill(constants->rest, rest_bytes(CONSTANTS), CONSTANTS);
	fill(variables->rest, rest_bytes(VARIABLES), VARIABLES);
	protect_parts(start, arena, PARTS);
}

/* Runs the code at `start`. The variable must continue from the calls before. */
static void run(char *start, uint32_t calls, uint32_t calls_before)
{
	uint32_t (*code)(void) = (uint32_t (*)(void))start;

	__builtin___clear_cache(start, start + bytes(arena[CODE].pages));
	for (uint32_t i = 1; i <= calls; i++) {
		uint32_t returned = code(), wanted = (calls_before + i) * STEP;

		if (returned != wanted || section(start, VARIABLES)->word != wanted)
			die_corrupt("call %u of the code: returned %u and left %u instead of %u", i, returned,
				    section(start, VARIABLES)->word, wanted);
	}
}

/* Checks protections and contents before the code runs again. */
static void check(char *start)
{
	char code[CODE_BYTES] = { 0 };

	for (size_t i = 0; i < PARTS; i++)
		if (arena[i].prot != GAP)
			expect_prot(arena[i].name, (char *)section(start, i), arena[i].pages, arena[i].prot);
	expect_gaps_reserved(start, arena, PARTS);
	write_arena_code(code);
	if (memcmp(start, code, sizeof code) != 0)
		die_corrupt("code: its bytes have changed");
	expect_zeros("rest of the code's page", start + CODE_BYTES, bytes(arena[CODE].pages) - CODE_BYTES);
	expect_pattern("constants", section(start, CONSTANTS)->rest, rest_bytes(CONSTANTS), CONSTANTS);
	expect_pattern("variables", section(start, VARIABLES)->rest, rest_bytes(VARIABLES), VARIABLES);
}

int main(void)
{
	struct totals moved = add_up(arena, PARTS);
	size_t length = bytes(moved.pages);
	char *old = reserve(moved.pages), *new = reserve(moved.pages);

	build(old);
	run(old, CALLS, 0);

	if (mremap(old, length, length, MREMAP_MAYMOVE | MREMAP_FIXED, new) != new)
		die_unmoved(moved);

	check(new);
	run(new, CALLS, CALLS);
	expect_unmapped("source of the arena", old, moved.pages);
	printf("relocatable_arena: moved code, constants, variables and guard, %zu pages with %zu hole, as one\n",
	       moved.pages, moved.gaps);
	printf("relocatable_arena: the code ran %d times before and %d times after\n", CALLS, CALLS);
	return 0;
}
