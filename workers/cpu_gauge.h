/* The CPU gauge: is this process short of CPU time? Then more threads at once than there are CPUs
 * bring nothing but switches between them. Any thread. */
#ifndef DRAY_WORKERS_CPU_GAUGE_H
#define DRAY_WORKERS_CPU_GAUGE_H

#include <stdbool.h>
#include <stdint.h>

#include "core/sync.h"

struct dray_cpu_gauge {
    uint32_t cpus;        /* that this process may run on; immutable */
    struct dray_mutex mu; /* guards the fields below */
    int64_t from_ms;      /* where the present window begins ... */
    int64_t cpu_from_ms;  /* ... and what CPU time had been used then */
    bool busy;            /* in the window before */
};

void dray_cpu_gauge_init(struct dray_cpu_gauge *gauge);
void dray_cpu_gauge_done(struct dray_cpu_gauge *gauge);

/**
 * How many threads can work at once to any purpose, of so many that would like to: all of them,
 * unless the process has lately used at least half of what all its CPUs can give; then as many as
 * there are CPUs. Not all of it, for a server on this machine and the kernel need their part, too.
 */
uint32_t dray_cpu_gauge_limit(struct dray_cpu_gauge *gauge, uint32_t threads);

#endif
