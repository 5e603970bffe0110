/* Token tables and snapshots: whatever comes from outside is checked here. */
#include "features_state.h"

/* Tokens ------------------------------------------------------------------------------------- */

static int32_t check_token(int32_t kind, int32_t value, int32_t unit) {
    switch (kind) {
    case PITCH:
    case DRUM: return within(value, 0, PITCHES - 1) ? FEATURES_OK : FEATURES_BAD_PITCH;
    case POSITION: return within(value, 0, POSITIONS - 1) ? FEATURES_OK : FEATURES_BAD_POSITION;
    case PROGRAM: return within(value, DRUMS, PROGRAMS - 2) ? FEATURES_OK : FEATURES_BAD_PROGRAM;
    case DURATION: return within(value, 1, MAX_METER) ? FEATURES_OK : FEATURES_BAD_DURATION;
    case TIME_SIGNATURE:
        return within(value, 1, MAX_METER) && within(unit, 1, 16) ? FEATURES_OK
                                                                  : FEATURES_BAD_METER;
    default: return within(kind, OTHER, TEMPO) ? FEATURES_OK : FEATURES_BAD_KIND;
    }
}

static void fill(int16_t *values, int32_t count, int16_t value) {
    for (int32_t i = 0; i < count; i++) values[i] = value;
}

int64_t features_table_bytes(void) { return sizeof(FeatureTable); }

int32_t features_make_table(FeatureTable *table, int32_t size, const int32_t *kind,
                            const int32_t *value, const int32_t *unit) {
    if (size < 1 || size > MAX_VOCAB) return FEATURES_BAD_SIZE;
    memset(table, 0, sizeof *table);
    table->size = size, table->bar = NONE;
    fill(table->pitch_ids, PITCHES, OUT_OF_RANGE), fill(table->drum_ids, PITCHES, OUT_OF_RANGE);
    fill(table->position_ids, POSITIONS, NONE), fill(table->program_ids, PROGRAMS, NONE);
    for (int32_t i = 0; i < size; i++) {
        int32_t error = check_token(kind[i], value[i], unit[i]);
        if (error) return error;
        table->kind[i] = (uint8_t)kind[i];
        table->value[i] = kind[i] == OTHER ? 0 : (int16_t)value[i];
        table->unit[i] = kind[i] == TIME_SIGNATURE ? (uint8_t)unit[i] : 0;
        if (kind[i] == BAR && table->bar == NONE) table->bar = i;
        if (kind[i] == PITCH) table->pitch_ids[value[i]] = (int16_t)i;
        if (kind[i] == DRUM) table->drum_ids[value[i]] = (int16_t)i;
        if (kind[i] == POSITION) table->position_ids[value[i]] = (int16_t)i;
        if (kind[i] == PROGRAM) table->program_ids[value[i] - DRUMS] = (int16_t)i;
    }
    return FEATURES_OK;
}

/* Snapshots from outside --------------------------------------------------------------------- */

static bool all_within(const int32_t *values, int32_t count, int32_t low, int32_t high) {
    for (int32_t i = 0; i < count; i++)
        if (!within(values[i], low, high)) return false;
    return true;
}

static bool shares_are_fine(const float *values, int32_t count) {
    for (int32_t i = 0; i < count; i++)
        if (!(values[i] >= 0.0f && values[i] <= 2.0f)) return false;
    return true;
}

static bool cursor_is_fine(const Cursor *c, const FeatureTable *table) {
    int32_t slots = c->parts < MAX_PARTS ? c->parts : MAX_PARTS;
    bool fine = within(c->index, NONE, INT32_MAX - 2) && within(c->bar, 0, c->index + 1) &&
                c->start >= 0 && c->start <= (int64_t)MAX_METER * c->bar &&
                within(c->length, 1, MAX_METER) && within(c->unit, 1, 16) &&
                within(c->time_signature, NONE, table->size - 1) &&
                within(c->kind, OTHER, KINDS - 1) && within(c->parts, 0, PROGRAMS * MAX_TRACKS) &&
                within(c->slot, NONE, slots - 1) && within(c->program, DRUMS, PROGRAMS - 2) &&
                within(c->number, 0, MAX_TRACKS - 1) && within(c->position, NONE, POSITIONS - 1) &&
                within(c->pitch, NONE, PITCHES - 1);
    if (c->pitch != NONE && (c->slot == NONE || c->position == NONE)) return false;
    for (int32_t i = 0; i < MAX_PARTS; i++)
        fine = fine && within(c->programs[i], DRUMS, PROGRAMS - 2);
    for (int32_t i = 0; i < PROGRAMS; i++) {
        fine = fine && c->blocks[i] <= MAX_TRACKS;
        for (int32_t k = 0; k < MAX_TRACKS; k++) fine = fine && c->slots[i][k] <= slots;
    }
    return fine;
}

/* Slots that differ from each other, as one bit each; 0 where two are the same. */
static uint64_t distinct(const uint8_t *slots, int32_t count) {
    uint64_t seen = 0;
    for (int32_t i = 0; i < count; i++) {
        if (slots[i] >= MAX_PARTS || seen >> slots[i] & 1) return 0;
        seen |= (uint64_t)1 << slots[i];
    }
    return seen;
}

static bool roster_is_fine(const FeatureState *s) {
    const Roster *r = &s->roster;
    return within(r->count, 0, MAX_PARTS) && within(r->later, 0, r->count) &&
           (!r->count || distinct(r->order, r->count)) &&
           within(r->following, NONE, MAX_PARTS - 1) && within(r->age, 0, 9) &&
           all_within(r->last_bar, MAX_PARTS, 0, s->cursor.bar + 1);
}

static bool homorhythm_is_fine(const FeatureState *s) {
    const Homorhythm *h = &s->homorhythm;
    if (!within(h->count, 0, MAX_PARTS) || !within(h->model, NONE, MAX_PARTS - 1)) return false;
    uint64_t written = distinct(h->written, h->count);
    if (h->count && !written) return false;
    for (int32_t slot = 0; slot < MAX_PARTS; slot++) {
        const uint64_t *bits = h->now[slot].bits;
        bool empty = !(bits[0] | bits[1] | bits[2]);
        if (empty == (written >> slot & 1)) return false;
    }
    return all_within(h->bars, MAX_PARTS, 0, s->cursor.bar);
}

static bool context_is_fine(const Context *x) {
    const int64_t farthest = (int64_t)1 << 50;
    bool fine = within(x->held_count, 0, MAX_HELD) &&
                within(x->chord_slot, x->chord_last == NONE ? NONE : 0, MAX_PARTS - 1) &&
                within(x->chord_lowest, NONE, PITCHES - 1) &&
                within(x->chord_highest, NONE, PITCHES - 1) &&
                within(x->chord_last, NONE, PITCHES - 1) && within(x->sounding, 0, 4095) &&
                shares_are_fine(x->recent, 12) && shares_are_fine(x->piece, 12) &&
                shares_are_fine(x->part[0], MAX_PARTS * PITCHES);
    for (int32_t i = 0; i < MAX_HELD; i++) fine = fine && within(x->held[i].pitch, 0, PITCHES - 1);
    for (int32_t i = 0; i < MAX_PARTS; i++)
        fine = fine && -farthest <= x->ends[i] && x->ends[i] <= farthest && x->lowest[i] >= NONE &&
               x->highest[i] >= NONE;
    return fine;
}

static bool notes_are_fine(const FeatureState *s, const FeatureTable *table) {
    int32_t count = s->notes;
    bool fine = within(count, 0, s->cursor.index + 1) &&
                all_within(s->last_note, MAX_PARTS, 0, count) &&
                all_within(s->matches[0], 2 * MAX_PARTS, 0, count);
    for (int32_t place = count - 1; fine && place >= 0 && place >= count - NOTE_RING; place--) {
        const Note *note = &s->note[(uint32_t)place % NOTE_RING];
        fine = within(note->index, 0, s->cursor.index) && note->pitch < PITCHES &&
               note->owner < 2 * DRUM_OWNER && within(note->duration, 0, table->size - 1) &&
               note->before <= place && note->after < count - place;
    }
    return fine;
}

static bool tokens_are_fine(const FeatureState *s, const FeatureTable *table) {
    bool fine = within(s->last_pitch, NONE, PITCHES - 1);
    for (int32_t i = 0; i < RING; i++)
        fine = fine && within(s->ids[i], 0, table->size - 1) && s->pitches[i] >= NONE;
    for (int i = 0; i < CANDIDATES; i++) {
        const Trust *trust = &s->trust[i];
        fine = fine && within(trust->proposal, OUT_OF_RANGE, table->size - 1) &&
               within(trust->run, 0, 255);
    }
    return fine;
}

static bool chains_are_fine(const FeatureState *s) {
    enum { TOKEN_BUCKETS = 1 << TOKEN_BUCKET_BITS, NOTE_BUCKETS = 1 << NOTE_BUCKET_BITS };
    bool fine = true;
    for (int i = 0; i < 2; i++) {
        int32_t last = s->cursor.index + 1;
        fine = fine && all_within(s->exact[i].head, TOKEN_BUCKETS, 0, last) &&
               all_within(s->transposed[i].head, TOKEN_BUCKETS, 0, last);
    }
    for (int i = 0; i < 4; i++)
        fine = fine && all_within(s->follower[i].head, NOTE_BUCKETS, 0, s->notes);
    for (int i = 0; i < 3; i++)
        fine = fine && all_within(s->imitation[i].head, NOTE_BUCKETS, 0, s->notes);
    return fine;
}

int32_t features_check(const FeatureState *s, const FeatureTable *table) {
    bool fine = cursor_is_fine(&s->cursor, table) && roster_is_fine(s) && homorhythm_is_fine(s) &&
                context_is_fine(&s->context) && notes_are_fine(s, table) &&
                tokens_are_fine(s, table) && chains_are_fine(s);
    return fine ? FEATURES_OK : FEATURES_BAD_SNAPSHOT;
}
