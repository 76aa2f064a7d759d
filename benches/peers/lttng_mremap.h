/* The tracepoint of lttng_mremap.c, with the fields of a call's record. */
#undef LTTNG_UST_TRACEPOINT_PROVIDER
#define LTTNG_UST_TRACEPOINT_PROVIDER mremap_bench

#undef LTTNG_UST_TRACEPOINT_INCLUDE
#define LTTNG_UST_TRACEPOINT_INCLUDE "./lttng_mremap.h"

#if !defined(LTTNG_MREMAP_H) || defined(LTTNG_UST_TRACEPOINT_HEADER_MULTI_READ)
#define LTTNG_MREMAP_H

#include <lttng/tracepoint.h>

LTTNG_UST_TRACEPOINT_EVENT(
	mremap_bench, call,
	LTTNG_UST_TP_ARGS(unsigned long, old_address, unsigned long, old_len, unsigned long, new_len, int, flags,
			  unsigned long, new_address, long, result, unsigned long, caller, unsigned long, ticks,
			  unsigned int, duration),
	LTTNG_UST_TP_FIELDS(
		lttng_ust_field_integer_hex(unsigned long, old_address, old_address)
		lttng_ust_field_integer(unsigned long, old_len, old_len)
		lttng_ust_field_integer(unsigned long, new_len, new_len)
		lttng_ust_field_integer(int, flags, flags)
		lttng_ust_field_integer_hex(unsigned long, new_address, new_address)
		lttng_ust_field_integer(long, result, result)
		lttng_ust_field_integer_hex(unsigned long, caller, caller)
		lttng_ust_field_integer(unsigned long, ticks, ticks)
		lttng_ust_field_integer(unsigned int, duration, duration)))

#endif

#include <lttng/tracepoint-event.h>
