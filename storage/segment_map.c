#include "storage/segment_map.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "core/error.h"

#define FIRST_CAPACITY 64

static uint64_t min_u64(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

void dray_segment_map_init(struct dray_segment_map *map, uint64_t size_bytes,
                           uint64_t granule_bytes)
{
    *map = (struct dray_segment_map){ .size_bytes = size_bytes, .granule_bytes = granule_bytes };
}

void dray_segment_map_done(struct dray_segment_map *map)
{
    free(map->extents);
    dray_segment_map_init(map, map->size_bytes, map->granule_bytes);
}

/* The first extent that ends behind a place: the one that holds it, or the next one. */
static size_t find(const struct dray_segment_map *map, uint64_t at)
{
    size_t low = 0;
    size_t high = map->count;

    while (low < high) {
        const size_t middle = low + (high - low) / 2;

        if (map->extents[middle].end > at)
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

/* Make room for one more extent than the writers may need. */
static int reserve(struct dray_segment_map *map)
{
    const size_t capacity = map->capacity ? 2 * map->capacity : FIRST_CAPACITY;
    struct dray_extent *extents;

    if (map->count + map->writers < map->capacity)
        return DRAY_OK;
    extents = reallocarray(map->extents, capacity, sizeof(*extents));
    if (!extents)
        return DRAY_ENOMEM;
    map->extents = extents;
    map->capacity = capacity;
    return DRAY_OK;
}

/* There is room. */
static void insert(struct dray_segment_map *map, uint64_t begin, uint64_t end, uint32_t origin)
{
    const size_t i = find(map, begin);
    struct dray_extent *here = map->extents + i;
    const bool joins_last = i > 0 && here[-1].end == begin && here[-1].origin == origin;
    const bool joins_next = i < map->count && here->begin == end && here->origin == origin;

    assert(begin < end && end <= map->size_bytes);
    assert(i == map->count || end <= here->begin);
    map->held_bytes += end - begin;
    if (joins_last && joins_next) {
        here[-1].end = here->end;
        map->count--;
        memmove(here, here + 1, (map->count - i) * sizeof(*here));
    } else if (joins_last) {
        here[-1].end = end;
    } else if (joins_next) {
        here->begin = begin;
    } else {
        memmove(here + 1, here, (map->count - i) * sizeof(*here));
        *here = (struct dray_extent){ .begin = begin, .end = end, .origin = origin };
        map->count++;
    }
}

int dray_segment_map_add(struct dray_segment_map *map, uint64_t begin, uint64_t end,
                         uint32_t origin)
{
    int rc = reserve(map);

    if (rc == DRAY_OK)
        insert(map, begin, end, origin);
    return rc;
}

uint64_t dray_segment_map_held_until(const struct dray_segment_map *map, uint64_t at,
                                     uint64_t limit)
{
    for (size_t i = find(map, at); i < map->count && at < limit; i++) {
        if (map->extents[i].begin > at)
            break;
        at = map->extents[i].end;
    }
    return min_u64(at, limit);
}

static bool is_complete(const struct dray_segment_map *map, uint64_t granule)
{
    const uint64_t begin = granule * map->granule_bytes;
    const uint64_t end = min_u64(map->size_bytes, begin + map->granule_bytes);

    return dray_segment_map_held_until(map, begin, end) == end;
}

void dray_segment_map_complete_granules(const struct dray_segment_map *map, uint64_t begin,
                                        uint64_t end, uint64_t *ret_first, uint64_t *ret_past)
{
    uint64_t first = begin / map->granule_bytes;
    uint64_t past = (end - 1) / map->granule_bytes + 1;

    /* Those in the middle are covered by [begin, end) itself. */
    if (!is_complete(map, first))
        first++;
    if (first < past && !is_complete(map, past - 1))
        past--;
    *ret_first = first;
    *ret_past = past;
}

uint64_t dray_segment_map_complete_bytes(const struct dray_segment_map *map)
{
    const uint64_t granule = map->granule_bytes;
    uint64_t sum = 0;

    for (size_t i = 0; i < map->count;) {
        const uint64_t begin = (map->extents[i].begin + granule - 1) / granule * granule;
        uint64_t end = dray_segment_map_held_until(map, map->extents[i].begin, map->size_bytes);

        i = find(map, end);
        if (end < map->size_bytes) /* the last granule may be short */
            end -= end % granule;
        if (end > begin)
            sum += end - begin;
    }
    return sum;
}

uint64_t dray_segment_map_origins(const struct dray_segment_map *map)
{
    uint64_t origins = 0;

    for (size_t i = 0; i < map->count; i++)
        origins |= UINT64_C(1) << map->extents[i].origin;
    return origins;
}

uint64_t dray_segment_map_differing(const struct dray_segment_map *map, uint64_t begin,
                                    const uint8_t *one, const uint8_t *other, size_t len)
{
    const uint64_t end = begin + len;
    uint64_t origins = 0;

    for (size_t i = find(map, begin); i < map->count && map->extents[i].begin < end; i++) {
        const struct dray_extent *extent = &map->extents[i];
        const uint64_t from = extent->begin > begin ? extent->begin : begin;
        const uint64_t to = min_u64(extent->end, end);

        if (memcmp(one + (from - begin), other + (from - begin), to - from) != 0)
            origins |= UINT64_C(1) << extent->origin;
    }
    return origins;
}

/* The first bytes from a place on that are neither held nor in a segment. */
static bool next_gap(const struct dray_segment_map *map, uint64_t from, uint64_t *ret_begin,
                     uint64_t *ret_end)
{
    uint64_t begin = from;
    uint64_t end = map->size_bytes;
    uint64_t before;
    size_t next;

    do {
        before = begin;
        begin = dray_segment_map_held_until(map, begin, map->size_bytes);
        for (const struct dray_segment *s = map->segments; s; s = s->next)
            if (s->at <= begin && begin < s->end)
                begin = s->end;
    } while (begin != before);
    if (begin >= map->size_bytes)
        return false;

    next = find(map, begin);
    if (next < map->count)
        end = map->extents[next].begin;
    for (const struct dray_segment *s = map->segments; s; s = s->next)
        if (s->at < s->end && s->at > begin)
            end = min_u64(end, s->at);
    *ret_begin = begin;
    *ret_end = end;
    return true;
}

uint64_t dray_segment_map_unclaimed(const struct dray_segment_map *map)
{
    uint64_t sum = 0;
    uint64_t begin;
    uint64_t end;

    for (uint64_t from = 0; next_gap(map, from, &begin, &end); from = end)
        sum += end - begin;
    return sum;
}

static void enlist(struct dray_segment_map *map, struct dray_segment *segment, uint64_t begin,
                   uint64_t end, uint32_t origin)
{
    assert(origin < 64);
    *segment = (struct dray_segment){
        .at = begin,
        .end = end,
        .writing_end = begin,
        .synced_from = begin,
        .origin = origin,
        .next = map->segments,
    };
    map->segments = segment;
}

bool dray_segment_map_claim(struct dray_segment_map *map, uint64_t max_bytes, uint32_t origin,
                            struct dray_segment *ret_segment)
{
    uint64_t begin;
    uint64_t end;

    if (max_bytes == 0 || !next_gap(map, 0, &begin, &end))
        return false;
    if (max_bytes < end - begin) {
        const uint64_t aligned = begin + max_bytes - (begin + max_bytes) % map->granule_bytes;

        end = aligned > begin ? aligned : begin + max_bytes;
    }
    enlist(map, ret_segment, begin, end, origin);
    return true;
}

/* The first byte from a place on that is neither held nor being written by another segment. */
static uint64_t pass_over(const struct dray_segment_map *map, const struct dray_segment *self,
                          uint64_t at, uint64_t limit)
{
    uint64_t before;

    do {
        before = at;
        at = dray_segment_map_held_until(map, at, limit);
        for (const struct dray_segment *s = map->segments; s; s = s->next)
            if (s != self && s->at <= at && at < s->writing_end)
                at = s->writing_end;
        at = min_u64(at, limit);
    } while (at != before);
    return at;
}

/* How far the bytes go on that pass_over() stopped at. */
static uint64_t run_end(const struct dray_segment_map *map, const struct dray_segment *self,
                        uint64_t at, uint64_t limit)
{
    const size_t next = find(map, at);

    if (next < map->count)
        limit = min_u64(limit, map->extents[next].begin);
    for (const struct dray_segment *s = map->segments; s; s = s->next)
        if (s != self && s->at < s->writing_end && s->at > at)
            limit = min_u64(limit, s->at);
    return limit;
}

static struct dray_segment *find_segment(const struct dray_segment_map *map,
                                         const struct dray_segment *wanted)
{
    struct dray_segment *segment = map->segments;

    while (segment && segment != wanted)
        segment = segment->next;
    return segment;
}

bool dray_segment_map_claim_again(struct dray_segment_map *map, const struct dray_segment *other,
                                  uint32_t origin, struct dray_segment *ret_segment)
{
    struct dray_segment *claimed = find_segment(map, other);
    uint64_t begin;

    if (!claimed)
        return false;
    begin = pass_over(map, NULL, claimed->at, claimed->end);
    if (begin == claimed->end)
        return false;

    claimed->shared = true;
    enlist(map, ret_segment, begin, claimed->end, origin);
    ret_segment->shared = true;
    return true;
}

bool dray_segment_map_split(struct dray_segment_map *map, const struct dray_segment *other,
                            uint64_t least_bytes, uint32_t origin, struct dray_segment *ret_segment)
{
    struct dray_segment *claimed = find_segment(map, other);
    uint64_t middle;
    uint64_t end;

    if (!claimed || claimed->shared)
        return false;
    end = claimed->end;
    middle = claimed->writing_end + (end - claimed->writing_end) / 2;
    middle -= middle % map->granule_bytes;
    if (middle < claimed->writing_end + least_bytes || end - middle < least_bytes)
        return false;
    claimed->cut = true;
    claimed->end = middle;
    enlist(map, ret_segment, middle, end, origin);
    return true;
}

bool dray_segment_map_claim_all(struct dray_segment_map *map, struct dray_segment *segment)
{
    for (const struct dray_segment *s = map->segments; s; s = s->next)
        if (s != segment && s->whole)
            return false;
    for (struct dray_segment *s = map->segments; s; s = s->next)
        s->shared = true;
    segment->at = 0;
    segment->writing_end = 0;
    segment->synced_from = 0;
    segment->end = map->size_bytes;
    segment->cut = false;
    segment->whole = true;
    return true;
}

bool dray_segment_map_needs(const struct dray_segment_map *map, const struct dray_segment *segment)
{
    const uint64_t at =
        segment->shared ? pass_over(map, segment, segment->at, segment->end) : segment->at;

    return at < segment->end;
}

int dray_segment_map_begin_write(struct dray_segment_map *map, struct dray_segment *segment,
                                 size_t len, size_t *ret_skipped)
{
    uint64_t begin = segment->at;
    uint64_t end = segment->at + len;

    assert(segment->writing_end == segment->at && (end <= segment->end || segment->cut));
    if (reserve(map) < 0)
        return DRAY_ENOMEM;
    if (segment->at == segment->end) { /* what comes is the other half */
        *ret_skipped = len;
        return DRAY_OK;
    }
    if (end > segment->end)
        end = segment->end;
    if (segment->shared) {
        begin = pass_over(map, segment, begin, end);
        if (begin < end)
            end = run_end(map, segment, begin, end);
    }
    *ret_skipped = (size_t)(begin - segment->at);
    segment->at = begin;
    segment->writing_end = end;
    map->writers += begin < end;
    return DRAY_OK;
}

void dray_segment_map_end_write(struct dray_segment_map *map, struct dray_segment *segment,
                                size_t written)
{
    if (segment->at == segment->writing_end)
        return;
    assert(written <= segment->writing_end - segment->at);
    if (written > 0)
        insert(map, segment->at, segment->at + written, segment->origin);
    map->writers--;
    segment->at += written;
    segment->written_bytes += written;
    segment->writing_end = segment->at;
}

void dray_segment_map_release(struct dray_segment_map *map, struct dray_segment *segment)
{
    assert(segment->writing_end == segment->at);
    for (struct dray_segment **link = &map->segments; *link; link = &(*link)->next)
        if (*link == segment) {
            *link = segment->next;
            segment->next = NULL;
            return;
        }
}
