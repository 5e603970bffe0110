/* Step features, one token at a time. Names and order follow the reference,
 * model/step_features.py, which explains each feature.
 */
#include "features_state.h"

static const float PART_DECAY = 0x1.f16ca2p-1f;   /* float32 of 0.5 ** (1 / 24) */
static const float RECENT_DECAY = 0x1.fa7c18p-1f; /* float32 of 0.5 ** (1 / 64) */
static const float PIECE_DECAY = 0x1.ff4eacp-1f;  /* float32 of 0.5 ** (1 / 512) */

/* Position in the stream --------------------------------------------------------------------- */

static void open_block(Cursor *c, int32_t program) {
    uint8_t *block = &c->blocks[program - DRUMS];
    c->program = program;
    c->number = *block < MAX_TRACKS ? *block : MAX_TRACKS - 1;
    if (*block < MAX_TRACKS) ++*block;
    uint8_t *slot = &c->slots[program - DRUMS][c->number];
    if (!*slot) {
        if (c->parts < MAX_PARTS) c->programs[c->parts] = (int16_t)program;
        *slot = (uint8_t)(c->parts < MAX_PARTS ? c->parts + 1 : MAX_PARTS);
        c->parts++;
    }
    c->slot = *slot - 1;
    c->position = c->pitch = NONE;
}

static void move_cursor(Cursor *c, const TokenTable *table, int32_t token) {
    int32_t value = table->value[token];
    c->index++;
    c->kind = table->kind[token];
    switch (c->kind) {
    case BAR:
        if (c->bar++) c->start += c->length;
        c->slot = c->position = c->pitch = NONE;
        memset(c->blocks, 0, sizeof c->blocks);
        break;
    case TIME_SIGNATURE:
        c->time_signature = token, c->length = value, c->unit = table->unit[token];
        break;
    case PROGRAM: open_block(c, value); break;
    case POSITION: c->position = value, c->pitch = NONE; break;
    case PITCH:
    case DRUM: {
        bool fits = c->slot != NONE && is_drums(c) == (c->kind == DRUM) && c->position != NONE;
        c->pitch = fits ? value : NONE;
    }
    }
}

/* References and histograms ------------------------------------------------------------------ */

static void add_to(float *histogram, int count, float decay, int32_t place) {
    for (int i = 0; i < count; i++) histogram[i] *= decay;
    histogram[place] += 1.0f - decay;
}

static void finish_chord(Context *x) {
    if (x->chord_last != NONE) {
        x->lowest[x->chord_slot] = (int8_t)x->chord_lowest;
        x->highest[x->chord_slot] = (int8_t)x->chord_highest;
    }
    x->chord_lowest = x->chord_highest = x->chord_last = NONE;
    x->sounding = 0;
}

static void drop_ended(Context *x, int64_t time) {
    int32_t kept = 0;
    for (int32_t i = 0; i < x->held_count; i++)
        if (x->held[i].end > time) x->held[kept++] = x->held[i];
    x->held_count = kept;
}

static int32_t classes_at(const Context *x, int64_t time) {
    int32_t classes = 0;
    for (int32_t i = 0; i < x->held_count; i++) {
        const HeldNote *note = &x->held[i];
        if (note->onset <= time && time < note->end) classes |= 1 << note->pitch % 12;
    }
    return classes;
}

static void read_pitch(Context *x, int32_t slot, int32_t pitch) {
    bool first = x->chord_last == NONE;
    if (first || pitch < x->chord_lowest) x->chord_lowest = pitch;
    if (first || pitch > x->chord_highest) x->chord_highest = pitch;
    x->chord_last = pitch, x->chord_slot = slot;
    x->sounding |= 1 << pitch % 12;
    add_to(x->part[slot], PITCHES, PART_DECAY, pitch);
    add_to(x->recent, 12, RECENT_DECAY, pitch % 12);
    add_to(x->piece, 12, PIECE_DECAY, pitch % 12);
}

static int32_t at_most(int32_t value, int32_t most) { return value < most ? value : most; }

static void count_rhythm(float *histogram, int32_t value) {
    add_to(histogram, RHYTHM_STEPS, PART_DECAY, at_most(value, RHYTHM_STEPS - 1));
}

static void start_note(Context *x, const Cursor *c, int32_t duration) {
    int64_t end = now(c) + (int64_t)duration * c->unit;
    x->ends[c->slot] = end, x->has_end[c->slot] = 1;
    if (!is_drums(c) && x->held_count < MAX_HELD)
        x->held[x->held_count++] = (HeldNote){now(c), end, c->pitch, c->slot};
}

static void update_context(FeatureState *s, const TokenTable *table, int32_t token) {
    const Cursor *c = &s->cursor;
    Context *x = &s->context;
    if (c->kind == BAR || c->kind == PROGRAM || c->kind == POSITION) finish_chord(x);
    if (c->kind == BAR) {
        drop_ended(x, c->start);
    } else if (c->kind == POSITION && c->slot != NONE) {
        count_rhythm(x->onsets[c->slot], c->position);
        if (!is_drums(c)) x->sounding = classes_at(x, now(c));
    } else if (c->kind == PITCH && c->pitch != NONE) {
        read_pitch(x, c->slot, c->pitch);
    } else if (c->kind == DURATION && c->pitch != NONE) {
        count_rhythm(x->durations[c->slot], table->value[token]);
        start_note(x, c, table->value[token]);
    }
}

/* Numbers of notes and onsets ------------------------------------------------------------------- */

static int32_t notes_of(const Sizes *z) { return at_most(z->notes, MOST_NOTES - 1); }

static int32_t onsets_of(const Sizes *z) { return at_most(z->onsets, MOST_ONSETS - 1); }

static void count_size(SizeCounts *counts, bool more) {
    enum { ONE = 256, SHIFT = 4 };
    counts->more = (int16_t)(counts->more - (counts->more >> SHIFT) + ONE * more);
    counts->equal = (int16_t)(counts->equal - (counts->equal >> SHIFT) + ONE * !more);
}

static void end_onset(Sizes *z) {
    if (z->notes) count_size(&z->of_onsets[z->slot][notes_of(z)], false);
}

static void update_sizes(Sizes *z, const Cursor *c) {
    if (c->kind == BAR || c->kind == PROGRAM) {
        if (z->slot != NONE) {
            end_onset(z);
            count_size(&z->of_bars[z->slot][onsets_of(z)], false);
        }
        z->slot = c->slot, z->notes = z->onsets = 0;
    } else if (c->kind == POSITION && c->slot != NONE) {
        end_onset(z);
        count_size(&z->of_bars[z->slot][onsets_of(z)], true);
        z->notes = 0, z->onsets++;
    } else if (c->kind == DURATION && c->pitch != NONE) {
        if (z->notes) count_size(&z->of_onsets[z->slot][notes_of(z)], true);
        z->notes++;
    }
}

static void write_sizes(const Sizes *z, int16_t *out) {
    memset(out, 0, 4 * sizeof *out);
    if (z->slot == NONE) return;
    const SizeCounts *onset = &z->of_onsets[z->slot][notes_of(z)];
    const SizeCounts *bar = &z->of_bars[z->slot][onsets_of(z)];
    out[0] = onset->more, out[1] = onset->equal, out[2] = bar->more, out[3] = bar->equal;
}

/* Tokens that may follow --------------------------------------------------------------------- */

static bool may_be_pitch(const Cursor *c) {
    bool begun = (c->kind == POSITION || c->kind == DURATION) && c->position != NONE;
    return begun && c->slot != NONE && !is_drums(c);
}

static bool may_be_position(const Cursor *c) {
    return c->kind == PROGRAM || c->kind == DURATION || c->kind == TIME_SIGNATURE ||
           c->kind == TEMPO;
}

static bool needs_duration(const Cursor *c) {
    return c->pitch != NONE && (c->kind == PITCH || c->kind == DRUM);
}

static void write_pitches(const FeatureState *s, int8_t *out) {
    const Context *x = &s->context;
    int32_t slot = s->cursor.slot, lowest = PITCHES, highest = NONE;
    memset(out, NONE, REFERENCE_PITCHES);
    if (!may_be_pitch(&s->cursor)) return;
    int64_t time = now(&s->cursor);
    for (int32_t i = 0; i < x->held_count; i++) {
        const HeldNote *note = &x->held[i];
        if (note->slot == slot || note->onset > time || time >= note->end) continue;
        if (note->pitch > highest) highest = note->pitch;
        if (note->pitch < lowest) lowest = note->pitch;
    }
    out[0] = x->lowest[slot], out[1] = x->highest[slot], out[2] = (int8_t)x->chord_last;
    out[3] = (int8_t)highest, out[4] = (int8_t)(highest == NONE ? NONE : lowest);
}

static void write_positions(const FeatureState *s, int16_t *out) {
    const Cursor *c = &s->cursor;
    out[0] = out[1] = NONE;
    if (!may_be_position(c) || c->slot == NONE) return;
    int64_t beyond = s->context.has_end[c->slot] ? s->context.ends[c->slot] - c->start : 0;
    int64_t end = beyond > 0 ? beyond / c->unit : 0;
    out[0] = (int16_t)c->position;
    out[1] = (int16_t)(end < FARTHEST_END ? end : FARTHEST_END);
}

/* Accuracy of the candidates ----------------------------------------------------------------- */

static int32_t proposed_kind(const CandidateAccuracy *accuracy, const TokenTable *table) {
    return accuracy->proposal == OUT_OF_RANGE ? PITCH : table->kind[accuracy->proposal];
}

static void count_result(CandidateAccuracy *accuracy, const TokenTable *table, int32_t token) {
    if (accuracy->proposal == NONE) return;
    bool right = accuracy->proposal == token;
    uint16_t *share = &accuracy->shares[proposed_kind(accuracy, table)];
    accuracy->run = !right ? 0 : accuracy->run < 255 ? accuracy->run + 1 : 255;
    /* QuantizedVector down on both sides, as `>>` does in Python. */
    *share = (uint16_t)(right ? *share + ((65535 - *share) >> 3) : *share - ((*share + 7) >> 3));
}

/* All features ------------------------------------------------------------------------------- */

int64_t features_state_bytes(void) { return sizeof(FeatureState); }

void features_begin(FeatureState *s) {
    memset(s, 0, sizeof *s);
    Cursor *c = &s->cursor;
    c->index = NONE, c->length = 48 * 4, c->unit = 4;
    c->time_signature = c->slot = c->program = c->position = c->pitch = NONE;
    s->part_order.following = s->homorhythm.model = s->last_pitch = s->sizes.slot = NONE;
    Context *x = &s->context;
    x->chord_slot = x->chord_lowest = x->chord_highest = x->chord_last = NONE;
    memset(x->lowest, NONE, sizeof x->lowest);
    memset(x->highest, NONE, sizeof x->highest);
    for (int i = 0; i < 12; i++) x->recent[i] = x->piece[i] = 0.02f;
    for (int i = 0; i < CANDIDATES; i++) {
        s->accuracy[i].proposal = NONE;
        for (int kind = 0; kind < KINDS; kind++) s->accuracy[i].shares[kind] = 32768;
    }
}

void features_push(FeatureState *s, const TokenTable *table, int32_t token) {
    Cursor *c = &s->cursor;
    for (int i = 0; i < CANDIDATES; i++) count_result(&s->accuracy[i], table, token);
    move_cursor(c, table, token);
    features_store_token(s, table, token);
    features_update_part_order(s);
    if (c->kind == DURATION && c->pitch != NONE) {
        features_add_note(s, token);
        features_match_notes(s);
    }
    features_update_homorhythm(s);
    update_context(s, table, token);
    update_sizes(&s->sizes, c);
    if (c->kind == DURATION) c->pitch = NONE;
    s->accuracy[0].proposal = features_propose_exact(s);
    s->accuracy[1].proposal = features_propose_transposed(s, table);
    s->accuracy[2].proposal = features_propose_notes(s, table, false);
    s->accuracy[3].proposal = features_propose_notes(s, table, true);
    s->accuracy[4].proposal = features_propose_part(s, table);
    s->accuracy[5].proposal = features_propose_rhythm(s, table);
}

static void write_parts(const FeatureState *s, uint8_t *out) {
    const Cursor *c = &s->cursor;
    const PartOrder *r = &s->part_order;
    out[0] = (uint8_t)(c->slot == NONE ? 0 : c->program + 2);
    out[1] = (uint8_t)(c->slot == NONE ? 0 : c->number);
    out[2] = (uint8_t)(r->following == NONE ? 0 : c->programs[r->following] + 2);
    out[3] = (uint8_t)(r->age < 9 ? r->age : 9);
}

/* histograms: of `count` entries for each part */
static void write_histogram(const FeatureState *s, const float *histograms, int32_t count,
                            float *out) {
    if (s->cursor.slot == NONE)
        memset(out, 0, (size_t)count * sizeof *out);
    else
        memcpy(out, histograms + s->cursor.slot * count, (size_t)count * sizeof *out);
}

static void write_candidates(const FeatureState *s, const TokenTable *table,
                             const FeatureOutputs *out, int64_t step) {
    for (int i = 0; i < CANDIDATES; i++) {
        const CandidateAccuracy *accuracy = &s->accuracy[i];
        bool present = accuracy->proposal >= 0;
        int64_t at = CANDIDATES * step + i;
        if (out->candidates) out->candidates[at] = (int16_t)(present ? accuracy->proposal : NONE);
        if (out->runs) out->runs[at] = (uint8_t)accuracy->run;
        if (out->accuracy)
            out->accuracy[at] =
                (uint8_t)(present ? accuracy->shares[proposed_kind(accuracy, table)] >> 8 : 0);
    }
}

void features_write(const FeatureState *s, const TokenTable *table, const FeatureOutputs *out,
                    int64_t step) {
    const Cursor *c = &s->cursor;
    const Context *x = &s->context;
    write_candidates(s, table, out, step);
    if (out->parts) write_parts(s, out->parts + 4 * step);
    if (out->pitches) write_pitches(s, out->pitches + REFERENCE_PITCHES * step);
    if (out->positions) write_positions(s, out->positions + 2 * step);
    if (out->follows)
        out->follows[step] =
            (uint8_t)(may_be_pitch(c) + 2 * may_be_position(c) + 4 * needs_duration(c));
    if (out->sounding) out->sounding[step] = (int16_t)x->sounding;
    if (out->part) write_histogram(s, x->part[0], PITCHES, out->part + PITCHES * step);
    if (out->recent) memcpy(out->recent + 12 * step, x->recent, sizeof x->recent);
    if (out->piece) memcpy(out->piece + 12 * step, x->piece, sizeof x->piece);
    if (out->onsets)
        write_histogram(s, x->onsets[0], RHYTHM_STEPS, out->onsets + RHYTHM_STEPS * step);
    if (out->durations)
        write_histogram(s, x->durations[0], RHYTHM_STEPS, out->durations + RHYTHM_STEPS * step);
    if (out->sizes) write_sizes(&s->sizes, out->sizes + 4 * step);
}

/* The features of FeatureArrays.empty, for the steps from `first` to before `last`. */
static void write_nothing(const FeatureOutputs *out, int64_t first, int64_t last) {
    int64_t count = last - first;
    size_t steps = (size_t)count;
    if (count <= 0) return;
    if (out->candidates) memset(out->candidates + CANDIDATES * first, NONE, CANDIDATES * 2 * steps);
    if (out->runs) memset(out->runs + CANDIDATES * first, 0, CANDIDATES * steps);
    if (out->accuracy) memset(out->accuracy + CANDIDATES * first, 0, CANDIDATES * steps);
    if (out->parts) memset(out->parts + 4 * first, 0, 4 * steps);
    if (out->pitches)
        memset(out->pitches + REFERENCE_PITCHES * first, NONE, REFERENCE_PITCHES * steps);
    if (out->positions) memset(out->positions + 2 * first, NONE, 2 * 2 * steps);
    if (out->follows) memset(out->follows + first, 0, steps);
    if (out->sounding) memset(out->sounding + first, 0, 2 * steps);
    if (out->part) memset(out->part + PITCHES * first, 0, PITCHES * sizeof(float) * steps);
    if (out->recent) memset(out->recent + 12 * first, 0, 12 * sizeof(float) * steps);
    if (out->piece) memset(out->piece + 12 * first, 0, 12 * sizeof(float) * steps);
    if (out->sizes) memset(out->sizes + 4 * first, 0, 4 * sizeof(int16_t) * steps);
    const size_t rhythm = RHYTHM_STEPS * sizeof(float) * steps;
    if (out->onsets) memset(out->onsets + RHYTHM_STEPS * first, 0, rhythm);
    if (out->durations) memset(out->durations + RHYTHM_STEPS * first, 0, rhythm);
}

static int32_t check_stream(const FeatureState *s, const TokenTable *table, const int64_t *ids,
                            int64_t count) {
    if (count > INT32_MAX - 2 - (s ? (int64_t)s->cursor.index : -1)) return CORE_TOO_LONG;
    for (int64_t i = 0; i < count; i++)
        if (ids[i] < 0 || ids[i] >= table->size) return CORE_BAD_TOKEN;
    return CORE_OK;
}

static void read_row(FeatureState *s, const TokenTable *table, const int64_t *ids, int64_t count,
                     const FeatureOutputs *out, int64_t first) {
    for (int64_t i = 0; i < count; i++) {
        features_push(s, table, (int32_t)ids[i]);
        features_write(s, table, out, first + i);
    }
}

static int32_t check_rows(const FeatureState *states, const TokenTable *table, const int64_t *ids,
                          int64_t rows, int64_t steps, const int64_t *lengths,
                          const uint8_t *reset) {
    if (rows < 0 || steps < 0) return CORE_BAD_LENGTH;
    for (int64_t row = 0; row < rows; row++) {
        int64_t count = lengths ? lengths[row] : steps;
        if (count < 0 || count > steps) return CORE_BAD_LENGTH;
        const FeatureState *state = reset && reset[row] ? NULL : &states[row];
        int32_t error = check_stream(state, table, ids + row * steps, count);
        if (error) return error;
    }
    return CORE_OK;
}

int32_t features_read_rows(FeatureState *states, const TokenTable *table, const int64_t *ids,
                           int64_t rows, int64_t steps, const int64_t *lengths,
                           const uint8_t *reset, const FeatureOutputs *out) {
    int32_t error = check_rows(states, table, ids, rows, steps, lengths, reset);
    for (int64_t row = 0; row < rows && !error; row++) {
        int64_t count = lengths ? lengths[row] : steps, first = row * steps;
        if (reset && reset[row]) features_begin(&states[row]);
        read_row(&states[row], table, ids + first, count, out, first);
        write_nothing(out, first + count, first + steps);
    }
    return error;
}
