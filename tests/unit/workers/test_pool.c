/* The pool: every job runs once, in order, however tight the queue and however many the workers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "core/error.h"
#include "workers/pool.h"

struct tally {
    struct dray_job job;
    int number;
    struct book *book;
};

struct book {
    atomic_int runs;
    atomic_int states; /* made and not freed */
    int fail_state_at; /* state_new fails for this one; -1: never */
    int order[64];     /* job numbers as a single worker ran them */
};

struct worker_state {
    struct book *book;
};

static int state_new(void *ctx, void **ret_state, struct dray_error *err)
{
    struct book *book = ctx;
    struct worker_state *state;

    if (atomic_load(&book->states) == book->fail_state_at)
        return dray_error_set(err, DRAY_EIO, "no state");
    state = malloc(sizeof(*state));
    assert_non_null(state);
    state->book = book;
    atomic_fetch_add(&book->states, 1);
    *ret_state = state;
    return DRAY_OK;
}

static void state_free(void *state)
{
    struct worker_state *mine = state;

    atomic_fetch_sub(&mine->book->states, 1);
    free(mine);
}

static void run(struct dray_job *job, void *state)
{
    struct tally *tally = (struct tally *)job; /* job is its first member */
    struct worker_state *mine = state;
    int place = atomic_fetch_add(&tally->book->runs, 1);

    if (mine->book != tally->book)
        abort();
    if (place < 64)
        tally->book->order[place] = tally->number;
    free(tally);
}

static struct dray_pool *make_pool(struct book *book, uint32_t workers, size_t capacity)
{
    struct dray_pool_options options = { .workers = workers,
                                         .capacity = capacity,
                                         .state_new = state_new,
                                         .state_free = state_free,
                                         .ctx = book };
    struct dray_pool *pool = NULL;

    assert_int_equal(dray_pool_new(&options, &pool, NULL), DRAY_OK);
    return pool;
}

static void push(struct dray_pool *pool, struct book *book, int number)
{
    struct tally *tally = calloc(1, sizeof(*tally));

    assert_non_null(tally);
    tally->job.run = run;
    tally->number = number;
    tally->book = book;
    dray_pool_push(pool, &tally->job);
}

static void one_worker_runs_jobs_in_the_order_they_came(void **state)
{
    struct book book = { .fail_state_at = -1 };
    struct dray_pool *pool = make_pool(&book, 1, 1);

    (void)state;
    for (int i = 0; i < 64; i++)
        push(pool, &book, i);
    dray_pool_free(pool);
    assert_int_equal(book.runs, 64);
    for (int i = 0; i < 64; i++)
        assert_int_equal(book.order[i], i);
}

static void every_job_runs_once_with_a_queue_of_one_and_many_workers(void **state)
{
    struct book book = { .fail_state_at = -1 };
    struct dray_pool *pool = make_pool(&book, 256, 1);

    (void)state;
    for (int i = 0; i < 5000; i++)
        push(pool, &book, i);
    dray_pool_free(pool);
    assert_int_equal(book.runs, 5000);
    assert_int_equal(book.states, 0);
}

static void freeing_lets_what_was_pushed_finish(void **state)
{
    struct book book = { .fail_state_at = -1 };
    struct dray_pool *pool = make_pool(&book, 2, 1000);

    (void)state;
    for (int i = 0; i < 1000; i++)
        push(pool, &book, i);
    dray_pool_free(pool);
    assert_int_equal(book.runs, 1000);
}

static void a_pool_that_cannot_start_frees_the_workers_it_has(void **state)
{
    struct book book = { .fail_state_at = 3 };
    struct dray_pool_options options = {
        .workers = 8, .capacity = 4, .state_new = state_new, .state_free = state_free, .ctx = &book
    };
    struct dray_pool *pool = NULL;
    struct dray_error err = { 0 };

    (void)state;
    assert_int_equal(dray_pool_new(&options, &pool, &err), DRAY_EIO);
    assert_string_equal(err.text, "no state");
    assert_null(pool);
    assert_int_equal(book.states, 0);
}

static void an_idle_pool_is_freed(void **state)
{
    struct book book = { .fail_state_at = -1 };

    (void)state;
    dray_pool_free(make_pool(&book, 16, 1));
    dray_pool_free(NULL);
    assert_int_equal(book.states, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_worker_runs_jobs_in_the_order_they_came),
        cmocka_unit_test(every_job_runs_once_with_a_queue_of_one_and_many_workers),
        cmocka_unit_test(freeing_lets_what_was_pushed_finish),
        cmocka_unit_test(a_pool_that_cannot_start_frees_the_workers_it_has),
        cmocka_unit_test(an_idle_pool_is_freed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
