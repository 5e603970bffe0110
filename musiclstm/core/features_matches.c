/* Matches of the last tokens, and of the last notes of each part.
 *
 * Tokens and notes are stored in ring buffers. A hash table finds contexts: each bucket is a chain
 * of ring indices, the latest first and one per context. Entries are compared with the context
 * itself, so matches are exact.
 */
#include "features_state.h"

/* Chains of places with the same hash -------------------------------------------------------- */

static uint64_t mix(uint64_t hash, uint64_t value) {
    hash = (hash ^ value) * 0x9e3779b97f4a7c15u;
    return hash ^ hash >> 32;
}

static uint32_t bucket(uint64_t hash, int bits) {
    return (uint32_t)(hash * 0xd6e8feb86659fd93u >> (64 - bits));
}

/* The next index of a chain; `mask` is the size of its links less one. */
static int32_t below(const uint16_t *link, uint32_t mask, int32_t place) {
    int32_t step = link[(uint32_t)place & mask];
    return step ? place - step : NONE;
}

static uint16_t link_between(int32_t place, int32_t lower) {
    return (uint16_t)(lower >= 0 && place - lower <= HORIZON ? place - lower : 0);
}

/* Insert an index at the head and remove the one that it replaces, if any. That one follows `above`
 * in the chain, or is the head if `above` is NONE. */
static void enter(int32_t *head, uint16_t *link, uint32_t mask, int32_t place, int32_t above,
                  int32_t replaced) {
    if (replaced != NONE) {
        int32_t lower = below(link, mask, replaced);
        if (above == NONE)
            *head = lower + 1;
        else
            link[(uint32_t)above & mask] = link_between(above, lower);
    }
    link[(uint32_t)place & mask] = link_between(place, *head - 1);
    *head = place + 1;
}

/* Matches of tokens -------------------------------------------------------------------------- */

static uint32_t in_ring(int32_t index) { return (uint32_t)index % RING; }

static bool same_tokens(const int16_t *ring, int32_t one, int32_t other, int length) {
    uint32_t i = in_ring(one), j = in_ring(other);
    for (int k = 0; k < length; k++) {
        if (ring[i] != ring[j]) return false;
        i = i ? i - 1 : RING - 1;
        j = j ? j - 1 : RING - 1;
    }
    return true;
}

/* The first index of a chain, from `place` down, with the same last tokens; NONE without one.
 * `above` becomes the index before it in the chain, unless it is the first. */
static int32_t find_tokens(const TokenChain *chain, const int16_t *ring, int32_t index, int length,
                           int32_t place, int32_t *above) {
    while (place >= 0 && index - place <= HORIZON) {
        if (same_tokens(ring, place, index, length)) return place;
        *above = place;
        place = below(chain->link, HORIZON - 1, place);
    }
    return NONE;
}

/* Insert the current index; return the latest one with the same last tokens, NONE without one. */
static int32_t exchange_tokens(TokenChain *chain, const int16_t *ring, int32_t index, int length,
                               uint64_t hash) {
    int32_t *head = &chain->head[bucket(hash, TOKEN_BUCKET_BITS)], above = NONE;
    int32_t found = find_tokens(chain, ring, index, length, *head - 1, &above);
    enter(head, chain->link, HORIZON - 1, index, above, found);
    return found;
}

/* Two chains, of eight tokens and of fewer; the longer match counts. */
static int32_t match_tokens(TokenChain chains[2], const int16_t *ring, int32_t index, int shorter) {
    enum { LONGER = 8 };
    uint64_t hash = 0, short_hash = 0;
    uint32_t at = in_ring(index);
    for (int k = 0; k < LONGER && k <= index; k++) {
        hash = mix(hash, (uint16_t)ring[at]);
        if (k + 1 == shorter) short_hash = hash;
        at = at ? at - 1 : RING - 1;
    }
    int32_t found = NONE, second = NONE;
    if (index + 1 >= LONGER) found = exchange_tokens(&chains[0], ring, index, LONGER, hash);
    if (index + 1 >= shorter)
        second = exchange_tokens(&chains[1], ring, index, shorter, short_hash);
    return found == NONE ? second : found;
}

/* A token, or a pitch as its interval to the last pitch: negative, so that it differs from ids. */
static int16_t symbol(const FeatureState *s, int32_t token, int32_t pitch) {
    enum { FIRST_PITCH = -1000 };
    if (pitch == NONE) return (int16_t)token;
    return (int16_t)(s->last_pitch == NONE ? FIRST_PITCH : pitch - s->last_pitch - PITCHES);
}

void features_store_token(FeatureState *s, const TokenTable *table, int32_t token) {
    uint32_t at = in_ring(s->cursor.index);
    int32_t pitch = table->kind[token] == PITCH ? table->value[token] : NONE;
    s->ids[at] = (int16_t)token;
    s->symbols[at] = symbol(s, token, pitch);
    if (pitch != NONE) s->last_pitch = pitch;
    s->pitches[at] = (int8_t)s->last_pitch;
}

int32_t features_propose_exact(FeatureState *s) {
    int32_t match = match_tokens(s->exact, s->ids, s->cursor.index, 3);
    return match == NONE ? NONE : s->ids[in_ring(match + 1)];
}

int32_t features_propose_transposed(FeatureState *s, const TokenTable *table) {
    int32_t match = match_tokens(s->transposed, s->symbols, s->cursor.index, 5);
    if (match == NONE) return NONE;
    int32_t token = s->ids[in_ring(match + 1)], then = s->pitches[in_ring(match)];
    if (table->kind[token] != PITCH) return token;
    int32_t shift = then == NONE ? 0 : s->last_pitch - then;
    return pitch_id(table, table->value[token] + shift, false);
}

/* Notes of the parts ------------------------------------------------------------------------- */

static PartNote *note_at(FeatureState *s, int32_t place) {
    return &s->note[(uint32_t)place % NOTE_RING];
}

void features_add_note(FeatureState *s, int32_t duration) {
    const Cursor *c = &s->cursor;
    int32_t place = s->notes, before = s->last_note[c->slot] - 1;
    bool drums = is_drums(c), first = !live_note(s, before);
    PartNote note = {.onset = (uint32_t)now(c), .index = c->index, .distance = NONE};
    note.duration = (int16_t)duration;
    note.place = (int16_t)(now(c) - c->start);
    note.pitch = (uint8_t)c->pitch;
    note.owner = (uint8_t)(c->slot + (drums ? DRUM_OWNER : 0));
    note.step = (int16_t)(drums ? c->pitch : 0);
    if (!first) {
        PartNote *last = note_at(s, before);
        note.before = last->after = (uint16_t)(place - before);
        note.distance = between(last->onset, note.onset);
        if (!drums) note.step = (int16_t)(c->pitch - last->pitch);
    }
    *note_at(s, place) = note;
    s->last_note[c->slot] = place + 1;
    s->notes++;
}

/* Matches of notes --------------------------------------------------------------------------- */

enum { MAX_CONTEXT = 10 };
static const int FOLLOWER_LENGTHS[] = {10, 6, 3, 1}, IMITATION_LENGTHS[] = {4, 2, 1};

static int32_t owner_of(const PartNote *note, bool imitation) {
    int32_t slot = note->owner & (DRUM_OWNER - 1);
    if (!imitation) return slot;
    return note->owner & DRUM_OWNER ? slot : NONE;
}

static bool same_notes(FeatureState *s, int32_t one, int32_t other, int length, bool imitation) {
    const PartNote *a = note_at(s, one), *b = note_at(s, other);
    if (a->place != b->place || a->duration != b->duration) return false;
    if (owner_of(a, imitation) != owner_of(b, imitation)) return false;
    if (length == 1) return a->pitch == b->pitch;
    for (int k = 0;;) {
        if (a->distance != b->distance || a->step != b->step || a->duration != b->duration)
            return false;
        if (++k == length) return true;
        a = note_at(s, one -= a->before), b = note_at(s, other -= b->before);
    }
}

/* Hashes of the last notes of a part by their number; returns how many there are. */
static int hash_notes(const FeatureState *s, int32_t place, uint64_t hashes[MAX_CONTEXT + 1]) {
    const PartNote *note = live_note(s, place);
    uint64_t hash = (uint64_t)note->place + 1;
    hashes[1] = mix(mix(hash, note->pitch), (uint64_t)note->duration);
    int count = 0;
    while (note) {
        uint64_t rest = (uint64_t)(uint16_t)note->step << 16 | (uint16_t)note->duration;
        hash = mix(hash, (uint64_t)(uint32_t)note->distance << 32 | rest);
        if (++count > 1) hashes[count] = hash;
        if (count == MAX_CONTEXT || !note->before) break;
        place -= note->before;
        note = live_note(s, place);
    }
    return count;
}

/* As find_tokens. */
static int32_t find_notes(FeatureState *s, const NoteChain *chain, int length, bool imitation,
                          int32_t place, int32_t *above) {
    while (live_note(s, place)) {
        if (same_notes(s, place, s->notes - 1, length, imitation)) return place;
        *above = place;
        place = below(chain->link, NOTE_LINKS - 1, place);
    }
    return NONE;
}

/* As exchange_tokens, for the last note. */
static int32_t exchange_notes(FeatureState *s, NoteChain *chain, int length, uint64_t hash,
                              bool imitation) {
    int32_t last = s->notes - 1, above = NONE;
    uint64_t owner = (uint64_t)(owner_of(note_at(s, last), imitation) + 2);
    int32_t *head = &chain->head[bucket(mix(hash, owner), NOTE_BUCKET_BITS)];
    int32_t found = find_notes(s, chain, length, imitation, *head - 1, &above);
    enter(head, chain->link, NOTE_LINKS - 1, last, above, found);
    return found;
}

/* Without a new match: the note after the previous match. */
static int32_t continue_match(FeatureState *s, int32_t slot, int32_t match) {
    if (match < 0 || s->notes - match > NOTE_RING) return NONE;
    const PartNote *old = note_at(s, match);
    if ((old->owner & (DRUM_OWNER - 1)) != slot || !old->after) return NONE;
    int32_t next = match + old->after;
    return live_note(s, next) ? next : NONE;
}

static void follow(FeatureState *s, NoteChain *chains, const int *lengths, int count,
                   bool imitation, const uint64_t *hashes, int available) {
    int32_t *match = &s->matches[imitation][s->cursor.slot], found = NONE;
    for (int i = 0; i < count; i++) {
        if (lengths[i] > available) continue;
        int32_t before =
            exchange_notes(s, &chains[i], lengths[i], hashes[lengths[i]], imitation);
        if (found == NONE) found = before;
    }
    if (found == NONE) found = continue_match(s, s->cursor.slot, *match - 1);
    *match = found + 1;
}

void features_match_notes(FeatureState *s) {
    uint64_t hashes[MAX_CONTEXT + 1];
    int available = hash_notes(s, s->notes - 1, hashes);
    follow(s, s->follower, FOLLOWER_LENGTHS, 4, false, hashes, available);
    follow(s, s->imitation, IMITATION_LENGTHS, 3, true, hashes, available);
}
