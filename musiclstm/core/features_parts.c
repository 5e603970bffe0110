/* Candidates from the order of parts, from matched passages and from homorhythm. */
#include "features_state.h"

/* The order of parts ------------------------------------------------------------------------- */

static bool played_lately(const FeatureState *s, int32_t slot, int32_t bars) {
    int32_t last = s->part_order.last_bar[slot], ago = s->cursor.bar - (last - 1);
    return last && 0 < ago && ago <= bars;
}

static int32_t next_part(const FeatureState *s, int32_t bars) {
    const PartOrder *r = &s->part_order;
    for (int32_t i = r->later; i < r->count; i++)
        if (played_lately(s, r->order[i], bars)) return r->order[i];
    return NONE;
}

/* `later` is the index at which a new part is inserted; afterwards the index after it. */
static void enter_part(PartOrder *r, int32_t slot) {
    int32_t place = 0;
    while (place < r->count && r->order[place] != slot) place++;
    if (place == r->count) {
        place = r->later;
        memmove(r->order + place + 1, r->order + place, (size_t)(r->count - place));
        r->order[place] = (uint8_t)slot;
        r->count++;
    }
    r->later = place + 1;
}

void features_update_part_order(FeatureState *s) {
    enum { INPUT_BARS = 8 };
    const Cursor *c = &s->cursor;
    PartOrder *r = &s->part_order;
    if (c->kind == DURATION && c->pitch != NONE) r->last_bar[c->slot] = c->bar + 1;
    if (c->kind != BAR && c->kind != PROGRAM) return;
    if (c->kind == PROGRAM)
        enter_part(r, c->slot);
    else
        r->later = 0;
    r->following = next_part(s, INPUT_BARS);
    r->age = r->following == NONE ? 0 : c->bar - (r->last_bar[r->following] - 1);
}

int32_t features_propose_part(const FeatureState *s, const TokenTable *table) {
    enum { CANDIDATE_BARS = 2 };
    int32_t kind = s->cursor.kind;
    if (kind != DURATION && kind != TIME_SIGNATURE && kind != TEMPO) return NONE;
    int32_t slot = next_part(s, CANDIDATE_BARS);
    if (slot != NONE) return program_id(table, s->cursor.programs[slot]);
    return kind == DURATION ? table->bar : NONE;
}

/* Matched passages --------------------------------------------------------------------------- */

typedef struct {
    int64_t onset;
    int32_t pitch, duration;
} PredictedNote;

static bool next_note(const FeatureState *s, bool imitation, int32_t slot, int64_t not_before,
                      PredictedNote *found) {
    int32_t match = s->matches[imitation][slot] - 1;
    const PartNote *model = live_note(s, match), *last = last_note(s, slot);
    if (!model || !last) return false;
    const Cursor *c = &s->cursor;
    int32_t earliest = between(last->onset, (uint32_t)not_before); /* after the last note */
    int32_t shift = c->programs[slot] == DRUMS ? 0 : last->pitch - model->pitch;
    for (const PartNote *note = model; note->after;) {
        match += note->after;
        note = &s->note[(uint32_t)match % NOTE_RING];
        int32_t later = between(model->onset, note->onset);
        if (later >= earliest) {
            found->onset = not_before + (later - earliest);
            found->pitch = note->pitch + shift;
            found->duration = note->duration;
            return true;
        }
    }
    return false;
}

static bool plays(const FeatureState *s, bool imitation, int32_t slot) {
    PredictedNote note;
    return next_note(s, imitation, slot, s->cursor.start, &note) &&
           note.onset < bar_end(&s->cursor);
}

static int32_t following_part(const FeatureState *s, const TokenTable *table, bool imitation) {
    const PartOrder *r = &s->part_order;
    for (int32_t i = r->later; i < r->count; i++)
        if (plays(s, imitation, r->order[i]))
            return program_id(table, s->cursor.programs[r->order[i]]);
    return table->bar;
}

static int32_t first_position(const FeatureState *s, const TokenTable *table, bool imitation) {
    const Cursor *c = &s->cursor;
    const PartOrder *r = &s->part_order;
    PredictedNote note;
    if (next_note(s, imitation, c->slot, c->start, &note) && note.onset < bar_end(c))
        return position_id(table, note.onset - c->start, c->unit);
    for (int32_t i = r->later; i < r->count; i++)
        if (c->programs[r->order[i]] == c->program && plays(s, imitation, r->order[i]))
            return program_id(table, c->program);
    return NONE;
}

static int32_t after_note(const FeatureState *s, const TokenTable *table, bool imitation) {
    const Cursor *c = &s->cursor;
    PredictedNote note;
    if (!next_note(s, imitation, c->slot, now(c), &note) || note.onset >= bar_end(c))
        return following_part(s, table, imitation);
    if (note.onset == now(c)) return pitch_id(table, note.pitch, is_drums(c));
    return position_id(table, note.onset - c->start, c->unit);
}

static int32_t pitch_now(const FeatureState *s, const TokenTable *table, bool imitation) {
    const Cursor *c = &s->cursor;
    PredictedNote note;
    bool comes = next_note(s, imitation, c->slot, now(c), &note) && note.onset == now(c);
    return comes ? pitch_id(table, note.pitch, is_drums(c)) : NONE;
}

static int32_t duration_now(const FeatureState *s, bool imitation) {
    const Cursor *c = &s->cursor;
    PredictedNote note;
    if (next_note(s, imitation, c->slot, now(c), &note) && note.onset == now(c))
        return note.duration;
    const PartNote *last = last_note(s, c->slot);
    return last ? last->duration : NONE;
}

int32_t features_propose_notes(const FeatureState *s, const TokenTable *table, bool imitation) {
    const Cursor *c = &s->cursor;
    switch (c->kind) {
    case BAR: return c->time_signature;
    case PITCH:
    case DRUM: return c->pitch == NONE ? NONE : duration_now(s, imitation);
    case PROGRAM: return first_position(s, table, imitation);
    case POSITION: return c->slot == NONE ? NONE : pitch_now(s, table, imitation);
    case DURATION: return c->slot == NONE ? NONE : after_note(s, table, imitation);
    case TIME_SIGNATURE:
    case TEMPO: return following_part(s, table, imitation);
    default: return NONE;
    }
}

/* Homorhythm --------------------------------------------------------------------------------- */

static int32_t bits_of(const Onsets *one, const Onsets *other, bool both) {
    int32_t count = 0;
    for (int i = 0; i < POSITIONS / 64; i++) {
        uint64_t a = one->bits[i], b = other->bits[i];
        count += __builtin_popcountll(both ? a & b : a | b);
    }
    return count;
}

static int32_t best_model(const FeatureState *s) {
    const Homorhythm *h = &s->homorhythm;
    int32_t slot = s->cursor.slot, best = NONE, best_common = 0, best_all = 1;
    for (int32_t i = 0; i < h->count; i++) {
        int32_t other = h->written[i], common = 0, all = 1;
        if (h->bars[slot] && h->bars[other] == h->bars[slot]) {
            common = bits_of(&h->before[slot], &h->before[other], true);
            all = bits_of(&h->before[slot], &h->before[other], false);
        }
        if (other != slot && common * best_all >= best_common * all)
            best = other, best_common = common, best_all = all;
    }
    return best;
}

static void begin_bar(Homorhythm *h, int32_t bar) {
    for (int32_t i = 0; i < h->count; i++) {
        int32_t slot = h->written[i];
        h->bars[slot] = bar; /* the bar before, plus one */
        h->before[slot] = h->now[slot];
        memset(&h->now[slot], 0, sizeof h->now[slot]);
    }
    h->count = 0, h->model = NONE;
}

void features_update_homorhythm(FeatureState *s) {
    const Cursor *c = &s->cursor;
    Homorhythm *h = &s->homorhythm;
    if (c->kind == BAR) {
        begin_bar(h, c->bar);
    } else if (c->kind == PROGRAM) {
        h->model = best_model(s);
    } else if (c->kind == DURATION && c->pitch != NONE) {
        uint64_t *bits = h->now[c->slot].bits;
        if (!(bits[0] | bits[1] | bits[2])) h->written[h->count++] = (uint8_t)c->slot;
        bits[c->position / 64] |= (uint64_t)1 << c->position % 64;
    }
}

/* The first of the model's notes in this bar with an onset from `earliest` to `latest`; NULL
 * without one. */
static const PartNote *model_note(const FeatureState *s, int64_t earliest, int64_t latest) {
    const PartNote *found = NULL;
    int32_t place = s->last_note[s->homorhythm.model] - 1;
    uint32_t start = (uint32_t)s->cursor.start;
    for (const PartNote *note; (note = live_note(s, place)) && between(start, note->onset) >= 0;) {
        int64_t onset = s->cursor.start + between(start, note->onset);
        if (earliest <= onset && onset <= latest) found = note;
        if (!note->before) break;
        place -= note->before;
    }
    return found;
}

static int32_t parallel_pitch(const FeatureState *s, const TokenTable *table, const PartNote *model) {
    const PartNote *own = last_note(s, s->cursor.slot);
    if (!model || !own || s->cursor.programs[s->homorhythm.model] == DRUMS) return NONE;
    return pitch_id(table, own->pitch + model->step, false);
}

int32_t features_propose_rhythm(const FeatureState *s, const TokenTable *table) {
    const Cursor *c = &s->cursor;
    const PartNote *note = NULL;
    if (s->homorhythm.model == NONE || c->slot == NONE) return NONE;
    if (c->kind == POSITION && !is_drums(c))
        return parallel_pitch(s, table, model_note(s, now(c), now(c)));
    if ((c->kind == PITCH || c->kind == DRUM) && c->pitch != NONE) {
        note = model_note(s, now(c), now(c));
        return note ? note->duration : NONE;
    }
    if (c->kind == PROGRAM) note = model_note(s, c->start, INT64_MAX);
    if (c->kind == DURATION) note = model_note(s, now(c) + 1, INT64_MAX);
    if (!note) return NONE;
    return position_id(table, between((uint32_t)c->start, note->onset), c->unit);
}
