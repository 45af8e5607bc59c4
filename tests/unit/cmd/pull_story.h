/* A pull of three images in which everything happens, for what tells of it afterwards. */
#ifndef TESTS_UNIT_CMD_PULL_STORY_H
#define TESTS_UNIT_CMD_PULL_STORY_H

#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include <dray/pull.h>

#include "cmd/tally.h"
#include "tests/unit/cmd/events.h"

struct pull_story {
    struct dray_tally tally;
    struct dray_pull_result results[3]; /* new, failed, unchanged */
};

static inline void pull_story_blob(struct pull_story *story, uint32_t image, uint32_t index,
                                   enum dray_event_kind kind, uint64_t current, uint64_t total,
                                   const struct dray_blob_figures *figures)
{
    struct dray_digest digest = events_digest(image * 16 + index);
    struct dray_event event = events_layer(kind, index, &digest, current, total);
    struct dray_error error = { .code = DRAY_EDIGEST, .text = "not UTF-8: \xff", .hint = "h" };

    event.image_index = image;
    event.figures = figures;
    event.error = kind == DRAY_EVENT_BLOB_FAILED ? &error : NULL;
    event.role = index == 3 ? DRAY_ROLE_CONFIG : DRAY_ROLE_LAYER;
    dray_tally_event(&story->tally, &event);
}

static inline void pull_story_blobs(struct pull_story *story)
{
    const struct dray_blob_origin origins[] = {
        { .endpoint = "http://mirror:5000", .bytes = 1000, .requests = 2, .failures = 1 },
        { .endpoint = "https://reg.example", .bytes = 11000000, .requests = 1 },
    };
    const struct dray_blob_origin liar = {
        .endpoint = "http://mirror:5000", .bytes = 500, .requests = 1, .wrong_bytes = true
    };
    const struct dray_blob_figures fetched = { .received_bytes = 11001000,
                                               .resumed_bytes = 1000000,
                                               .duration_ms = 2131,
                                               .first_byte_ms = 12,
                                               .requests = 3,
                                               .retries = 1,
                                               .connections = 4,
                                               .origins = origins,
                                               .origin_count = 2 };
    const struct dray_blob_figures failed = { .received_bytes = 500,
                                              .duration_ms = 100,
                                              .first_byte_ms = -1,
                                              .requests = 1,
                                              .connections = 1,
                                              .origins = &liar,
                                              .origin_count = 1 };
    const struct dray_blob_origin slow = { .endpoint = "http://mirror:5000",
                                           .bytes = 40,
                                           .requests = 1 };
    const struct dray_blob_figures stopped = { .received_bytes = 40,
                                               .duration_ms = 90,
                                               .first_byte_ms = 20,
                                               .requests = 1,
                                               .connections = 1,
                                               .origins = &slow,
                                               .origin_count = 1 };

    pull_story_blob(story, 0, 0, DRAY_EVENT_BLOB_DONE, 0, 12000000, &fetched);
    pull_story_blob(story, 0, 1, DRAY_EVENT_BLOB_EXISTS, 0, 30100000, NULL);
    pull_story_blob(story, 0, 3, DRAY_EVENT_BLOB_DONE, 0, 800, NULL);
    pull_story_blob(story, 1, 0, DRAY_EVENT_BLOB_FAILED, 0, 500, &failed);
    pull_story_blob(story, 1, 1, DRAY_EVENT_BLOB_STOPPED, 40, 99, &stopped);
}

static inline void pull_story_endpoints(struct pull_story *story)
{
    const struct dray_endpoint_figures mirror = { .endpoint = "http://mirror:5000",
                                                  .requests = 9,
                                                  .bytes = 250100000,
                                                  .failures = 2,
                                                  .stalls = 1,
                                                  .wrong_blobs = 1,
                                                  .rate_bytes_per_s = 40000000,
                                                  .first_byte_ms = 12,
                                                  .connections = 4,
                                                  .ranges = true,
                                                  .reachable = true };
    const struct dray_endpoint_figures registry = { .endpoint = "https://reg.example",
                                                    .requests = 2,
                                                    .bytes = 11000000,
                                                    .failures = 1,
                                                    .connect_failures = 1,
                                                    .first_byte_ms = -1,
                                                    .has_quota = true,
                                                    .quota_remaining = 76,
                                                    .quota_limit = 100 };

    dray_tally_endpoint(&story->tally, &mirror);
    dray_tally_endpoint(&story->tally, &registry);
}

static inline void pull_story_begin(struct pull_story *story)
{
    static const char *const names[] = { "nginx", "reg.example/a:1", "reg.example/b" };
    struct dray_error err;

    memset(story, 0, sizeof(*story));
    assert_int_equal(dray_tally_init(&story->tally, 3), DRAY_OK);
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(dray_reference_parse(names[i], &story->results[i].reference, &err),
                         DRAY_OK);
    story->results[0].status = DRAY_PULL_NEW;
    story->results[0].digest = events_digest(0xaa);
    story->results[0].total_bytes = 42100800;
    story->results[0].fetched_bytes = 11001000;
    story->results[1].status = DRAY_PULL_FAILED;
    story->results[1].error = (struct dray_error){ .code = DRAY_EDIGEST, .text = "wrong bytes" };
    story->results[2].status = DRAY_PULL_UNCHANGED;
    story->results[2].digest = events_digest(0xbb);
    pull_story_blobs(story);
    dray_tally_finish(&story->tally);
    story->tally.started_ms = INT64_C(1764000000123);
    story->tally.duration_ms = 2131;
    pull_story_endpoints(story);
}

#endif
