/* Grammar masks. Names and order follow the reference, reference/grammar.py. */
#include "grammar.h"

/* Required notes -------------------------------------------------------------------------------- */

/* Blocks besides the current one that must get a note. */
static int32_t others_must_play(const GrammarState *g) {
    if (g->program == NONE || !g->is_empty) return g->must_play_count;
    return g->must_play_count - g->must_play[g->program] + required_left(g, g->program);
}

static int32_t notes_left(const GrammarState *g) {
    return least(g->free_onsets_sum, g->rules.most - g->notes_started);
}

/* Whether the bar cannot get its required notes from later parts alone. */
static bool depends_on_part(const GrammarState *g) {
    return needs_first(g) || (g->notes_required > 0 && g->later_pitches < g->rules.max_at_once);
}

/* Returns how many notes later parts can start at a position before the current part's next one:
 * earlier beats will be closed where the first onset must be off the beat. */
static int32_t later_notes(const GrammarState *g, int32_t position) {
    if (needs_first(g) && position % BEAT == 0) return 0;
    return least(g->free_onsets[position], g->later_pitches);
}

/* Returns how many notes the current and later parts can start from a position on. */
static int32_t notes_from(const GrammarState *g, int32_t position) {
    int32_t pitches = g->later_pitches + pitches_of(g, g->program), sum = 0;
    for (int32_t i = position; i < g->length; i++) sum += least(g->free_onsets[i], pitches);
    return sum;
}

static int32_t max_notes_at_other_positions(const GrammarState *g) {
    int32_t sum = notes_from(g, g->position + 1);
    for (int32_t i = 0; i < g->position; i++) sum += later_notes(g, i);
    return sum;
}

/* Returns the first position at which too few notes would be possible. */
static int32_t position_stop(const GrammarState *g) {
    if (!depends_on_part(g)) return g->length;
    int32_t needed = most(g->notes_required, 1 + others_must_play(g));
    int32_t possible = notes_from(g, 0), pitches = g->later_pitches + pitches_of(g, g->program);
    int32_t stop = 0;
    for (; stop < g->length && possible >= needed; stop++)
        possible += later_notes(g, stop) - least(g->free_onsets[stop], pitches);
    return stop;
}

/* Returns the lowest pitch above which too few notes would be possible; 0 if all are too high. */
static int32_t pitch_stop(const GrammarState *g) {
    if (g->notes_required <= 1 || !depends_on_part(g)) return PITCHES;
    int32_t above = /* notes that this part needs above */
        g->notes_required - 1 - max_notes_at_other_positions(g) - g->later_pitches;
    int32_t stop = PITCHES;
    while (stop > 0 && pitches_above(g->rules.pitches[g->program], stop - 2) <= above) stop--;
    return stop;
}

/* Returns how many later onsets of the bar are not required. */
static int32_t unrequired_onsets(const GrammarState *g) {
    int32_t spare = NO_LIMIT;
    if (g->must_play_count) spare = max_notes(g, g->later_pitches) - g->must_play_count;
    if (g->notes_required > 0) {
        int32_t possible = g->free_onsets_sum;
        if (depends_on_part(g)) {
            possible = max_notes_at_other_positions(g);
            if (g->position >= 0) {
                int32_t above = g->program == NONE
                                    ? 0
                                    : pitches_above(g->rules.pitches[g->program], g->pitch);
                possible += least(g->free_onsets[g->position], above + g->later_pitches);
            }
        }
        spare = least(spare, possible - g->notes_required);
    }
    return spare;
}

/* Returns the longest duration that respects the polyphony and the required notes. */
static int32_t longest_by_voices(const GrammarState *g) {
    int32_t position = g->position, spare = unrequired_onsets(g), taken = 0;
    for (int32_t i = position + 1; i < g->length; i++) {
        taken += g->voices_left[i] <= g->onsets_left[i]; /* onsets that the note would take */
        if (taken > spare || g->voices_left[i] <= 0) return i - position;
    }
    /* The next bar needs its notes too. */
    int32_t together = least(g->rules.max_at_once, g->different_notes);
    spare = -most(1, g->rules.fewest), taken = 0;
    for (int32_t i = g->length; i < 2 * g->length; i++)
        spare += most(least(g->voices_left[i], together), 0);
    for (int32_t i = g->length; i < 2 * g->length; i++) {
        taken += g->voices_left[i] <= together;
        if (taken > spare) return i - position;
    }
    return NO_LIMIT;
}

/* Masks ----------------------------------------------------------------------------------------- */

static void permit(uint8_t *permitted, int32_t token) {
    if (token >= 0) permitted[token] = 1;
}

static void permit_durations(const GrammarState *g, const TokenTable *table, uint8_t *permitted) {
    int32_t longest = NO_LIMIT, to_bar_line = g->length - g->position;
    if (g->rules.closed) longest = to_bar_line;
    else if (g->rules.has_ending) longest = to_bar_line + g->shortest_bar / g->unit;
    if (g->rules.max_polyphony) longest = least(longest, longest_by_voices(g));
    int32_t first = table->first[DURATION];
    for (int32_t i = first; i < first + table->count[DURATION]; i++)
        permitted[i] = table->kind[i] == DURATION && table->value[i] <= longest;
}

static bool has_pitch(const uint64_t *pitches, int32_t pitch) {
    return pitches[pitch / 64] >> pitch % 64 & 1;
}

/* Returns whether there was one. */
static bool permit_pitches_outside(const GrammarState *g, const TokenTable *table, int32_t mode,
                                   uint8_t *permitted) {
    int32_t stop = pitch_stop(g);
    bool any = false;
    for (int32_t pitch = g->pitch + 1; pitch < stop; pitch++)
        if (has_pitch(g->rules.pitches[g->program], pitch) && !(mode >> pitch % 12 & 1)) {
            permit(permitted, pitch_id(table, pitch, g->program == DRUM_PROGRAM));
            any = true;
        }
    return any;
}

static void permit_pitches(const GrammarState *g, const TokenTable *table, uint8_t *permitted) {
    bool is_first = g->pitch < 0 && g->position < g->outside_mode_at;
    int32_t mode = is_first && g->program != DRUM_PROGRAM ? g->rules.mode : 0;
    if (!permit_pitches_outside(g, table, mode, permitted) && mode)
        permit_pitches_outside(g, table, 0, permitted);
}

/* Returns the first position at which a part may start a note if lines are kept. */
static int32_t line_start(const GrammarState *g, int32_t program, int32_t track) {
    bool is_line = g->is_line[program] >> track & 1;
    return is_line ? (g->part_ends[program][track] + g->unit - 1) / g->unit : 0;
}

/* Whether one of the program's later parts may start a note if lines are kept. */
static bool has_free_part(const GrammarState *g, int32_t program) {
    for (int32_t left = blocks_left(g, program); left > 0; left--)
        if (line_start(g, program, least(tracks_of(g, program) - left, MAX_TRACKS - 1)) < g->length)
            return true;
    return false;
}

static void permit_positions(const GrammarState *g, const TokenTable *table, bool keep_lines,
                             uint8_t *permitted) {
    int32_t stop = position_stop(g), start = g->position + 1;
    bool no_beats = needs_first(g);
    if (keep_lines) start = most(start, line_start(g, g->program, g->track));
    for (int32_t i = start; i < stop; i++)
        if (g->free_onsets[i] && !(no_beats && i % BEAT == 0))
            permit(permitted, table->position_ids[i]);
}

static bool may_play_drums(const GrammarState *g, bool must_others_play) {
    if (g->rules.needs_pitched && !g->has_pitched) return false;
    if (!g->drums_are_last) return true;
    return !must_others_play && g->notes_required <= max_notes(g, pitches_of(g, DRUM_PROGRAM));
}

static void permit_programs(const GrammarState *g, const TokenTable *table, bool keep_lines,
                            uint8_t *permitted) {
    int32_t empty = g->kind == PROGRAM ? g->program : NONE; /* program whose block is still empty */
    int32_t must_play = g->must_play_count + (empty != NONE && !g->must_play[empty]);
    int32_t left = notes_left(g) - must_play;
    if (left < 0 || g->notes_required > max_notes(g, g->later_pitches)) return;
    for (int32_t i = 0; i < PROGRAMS; i++)
        if (left ? blocks_left(g, i) && pitches_of(g, i) && (!keep_lines || has_free_part(g, i))
                 : g->must_play[i] || i == empty)
            permit(permitted, program_token(table, i));
    int32_t drums = program_token(table, DRUM_PROGRAM);
    bool must_others_play = must_play > g->must_play[DRUM_PROGRAM];
    if (drums >= 0 && !may_play_drums(g, must_others_play)) permitted[drums] = 0;
}

static void permit_end(const GrammarState *g, const TokenTable *table, uint8_t *permitted) {
    if (g->notes_required > 0 || g->must_play_count) return;
    permit(permitted, table->bar), permit(permitted, table->eos);
}

static void after_note(const GrammarState *g, const TokenTable *table, bool keep_lines,
                       uint8_t *permitted) {
    if (g->program != NONE && notes_left(g) > others_must_play(g)) {
        if (g->position >= 0 && g->free_onsets[g->position] &&
            !(keep_lines && g->is_line[g->program] >> g->track & 1))
            permit_pitches(g, table, permitted);
        permit_positions(g, table, keep_lines, permitted);
    }
    permit_programs(g, table, keep_lines, permitted);
    permit_end(g, table, permitted);
}

static void after_position(const GrammarState *g, const TokenTable *table, uint8_t *permitted) {
    if (g->program != NONE) permit_pitches(g, table, permitted);
    else if (g->rules.allows_tempos)
        for (int32_t i = 0; i < table->size; i++) permitted[i] = table->kind[i] == TEMPO;
}

static void after_program(const GrammarState *g, const TokenTable *table, bool keep_lines,
                          uint8_t *permitted) {
    bool is_kept = g->program != NONE && g->track < g->kept[g->program];
    if (!is_kept && notes_left(g) > others_must_play(g))
        permit_positions(g, table, keep_lines, permitted);
    if (g->program != NONE && blocks_left(g, g->program) && !(g->required[g->program] >> g->track & 1))
        permit_programs(g, table, keep_lines, permitted);
}

static void after_header(const GrammarState *g, const TokenTable *table, bool keep_lines,
                         uint8_t *permitted) {
    int32_t stop = g->rules.downbeat_only ? 1 : g->length;
    for (int32_t i = g->position + 1; g->rules.allows_tempos && i < stop; i++)
        permit(permitted, table->position_ids[i]);
    permit_programs(g, table, keep_lines, permitted);
    permit_end(g, table, permitted);
}

/* Permits time signatures that fit the required notes; all if none does. */
static void permit_meters(const GrammarState *g, const TokenTable *table, uint8_t *permitted) {
    int32_t together = least(g->rules.max_at_once, g->later_pitches), unit = 0;
    int32_t first = table->first[TIME_SIGNATURE], count = least(table->count[TIME_SIGNATURE], 64);
    int32_t voices[POSITIONS];
    bool is_any = g->notes_required <= !g->rules.max_polyphony, found = false;
    for (int32_t i = first; i < first + count && !is_any; i++) {
        if (!(g->rules.meters >> (i - first) & 1)) continue;
        if (unit != table->unit[i]) {
            unit = table->unit[i];
            grammar_free_voices(g, POSITIONS, unit, voices);
        }
        int32_t length = g->rules.downbeat_only ? 1 : least(table->value[i] / unit, POSITIONS);
        int32_t possible = 0;
        for (int32_t at = 0; at < length; at++) possible += most(least(voices[at], together), 0);
        permitted[i] = possible >= g->notes_required;
        found |= permitted[i];
    }
    for (int32_t i = first; i < first + count && !found; i++)
        permitted[i] = g->rules.meters >> (i - first) & 1;
}

static void permit_all(const GrammarState *g, const TokenTable *table, bool keep_lines,
                       uint8_t *permitted) {
    switch (g->kind) {
    case PITCH:
    case DRUM: permit_durations(g, table, permitted); break;
    case DURATION: after_note(g, table, keep_lines, permitted); break;
    case POSITION: after_position(g, table, permitted); break;
    case PROGRAM: after_program(g, table, keep_lines, permitted); break;
    case TIME_SIGNATURE:
    case TEMPO: after_header(g, table, keep_lines, permitted); break;
    case BAR: permit_meters(g, table, permitted); break;
    case ENDED: permit(permitted, table->eos); break;
    default: permit(permitted, table->bar);
    }
}

void grammar_permitted(const GrammarState *g, const TokenTable *table, uint8_t *permitted) {
    memset(permitted, 0, (size_t)table->size);
    permit_all(g, table, g->rules.keep_lines, permitted);
    for (int32_t i = 0; i < table->size; i++)
        if (permitted[i]) return;
    permit_all(g, table, false, permitted); /* a line whose bar needs notes gives way */
}
