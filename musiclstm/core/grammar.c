/* Grammar: which tokens may follow. Names and order follow the reference, reference/grammar.py,
 * which explains the rules.
 */
#include "grammar.h"

/* Rules ------------------------------------------------------------------------------------- */

static bool is_flag(int32_t value) { return value == 0 || value == 1; }

static bool are_numbers_valid(const BarRules *r) {
    return within(r->max_at_once, 1, 32) && within(r->max_polyphony, 0, NO_LIMIT) &&
           within(r->fewest, 0, r->most) && within(r->most, 1, NO_LIMIT) &&
           within(r->max_empty_bars, 0, NO_LIMIT) && within(r->mode, 0, 4095) &&
           is_flag(r->allows_tempos) && is_flag(r->has_ending) && is_flag(r->closed) &&
           is_flag(r->downbeat_only) && is_flag(r->off_beat) && is_flag(r->needs_pitched) &&
           is_flag(r->keep_lines);
}

/* Whether all permitted meters, programs and pitches have tokens, and there is one of each. */
static bool have_tokens(const TokenTable *table, const BarRules *rules) {
    int32_t meters = table->first[TIME_SIGNATURE];
    for (int32_t i = 0; i < 64; i++)
        if (rules->meters >> i & 1 && (i >= table->count[TIME_SIGNATURE] ||
                                       table->kind[meters + i] != TIME_SIGNATURE))
            return false;
    uint64_t known[2][2] = {{0}}, any = 0; /* known: pitches and drums */
    for (int32_t pitch = 0; pitch < PITCHES; pitch++)
        for (int32_t drums = 0; drums < 2; drums++)
            if (pitch_id(table, pitch, drums) >= 0)
                known[drums][pitch / 64] |= (uint64_t)1 << pitch % 64;
    for (int32_t program = 0; program < PROGRAMS; program++) {
        const uint64_t *pitches = rules->pitches[program], *all = known[program == DRUM_PROGRAM];
        if (pitches[0] & ~all[0] || pitches[1] & ~all[1]) return false;
        if ((pitches[0] | pitches[1]) && program_token(table, program) < 0) return false;
        any |= pitches[0] | pitches[1];
    }
    return any && rules->meters;
}

static int32_t set_rules(GrammarState *g, const TokenTable *table, const BarRules *rules) {
    if (!are_numbers_valid(rules) || !have_tokens(table, rules)) return CORE_BAD_RULES;
    g->rules = *rules;
    g->different_notes = 0;
    for (int32_t i = 0; i < PROGRAMS; i++) g->different_notes += pitches_of(g, i);
    g->shortest_bar = MAX_METER;
    const int16_t *lengths = table->value + table->first[TIME_SIGNATURE];
    for (int32_t i = 0; i < table->count[TIME_SIGNATURE] && i < 64; i++)
        if (rules->meters >> i & 1) g->shortest_bar = least(g->shortest_bar, lengths[i]);
    return CORE_OK;
}

/* Notes that may start ------------------------------------------------------------------------ */

static int32_t divided_up(int32_t a, int32_t b) { return (a + b - 1) / b; }

void grammar_free_voices(const GrammarState *g, int32_t size, int32_t unit, int32_t *voices) {
    int32_t free = g->rules.max_polyphony ? g->rules.max_polyphony : NO_LIMIT;
    int32_t ends[2 * POSITIONS + 1] = {0};
    for (int32_t i = 0; i < PROGRAMS && g->rules.max_polyphony; i++)
        for (int32_t track = 0; g->has_note_ends[i] >> track; track++)
            for (int32_t pitch = 0; g->has_note_ends[i] >> track & 1 && pitch < PITCHES; pitch++)
                ends[least(divided_up(g->note_ends[i][track][pitch], unit), size)]++;
    for (int32_t i = size - 1; i >= 0; i--) voices[i] = free -= ends[i + 1];
}

/* Pitches of all blocks that may follow in this bar, summed up. */
static int32_t count_later_pitches(const GrammarState *g) {
    int32_t count = 0;
    for (int32_t i = 0; i < PROGRAMS; i++) count += blocks_left(g, i) * pitches_of(g, i);
    return count;
}

static void update_free_onsets(GrammarState *g) {
    g->free_onsets_sum = 0;
    for (int32_t i = 0; i < g->length; i++) {
        g->free_onsets[i] = most(least(g->voices_left[i], g->onsets_left[i]), 0);
        g->free_onsets_sum += g->free_onsets[i];
    }
}

static void close_beats(GrammarState *g, int32_t before) {
    for (int32_t i = 0; i < before; i += BEAT) g->onsets_left[i] = 0;
    update_free_onsets(g);
}

/* Closes the beats before the first free position off the beat; false if impossible. */
static bool close_first_beats(GrammarState *g) {
    int32_t first = 1, possible = max_notes(g, g->later_pitches);
    while (first < g->length && (first % BEAT == 0 || !g->free_onsets[first])) first++;
    if (first >= g->length) return false;
    for (int32_t i = 0; i < first; i += BEAT)
        possible -= least(g->free_onsets[i], g->later_pitches);
    if (possible < g->notes_required) return false;
    close_beats(g, first);
    return true;
}

/* Updates --------------------------------------------------------------------------------------- */

static void start_bar(GrammarState *g) {
    bool must_play = g->rules.needs_pitched || g->empty_bars >= g->rules.max_empty_bars;
    g->kind = BETWEEN_BARS;
    g->notes_required = most(g->rules.fewest, must_play);
    g->notes_started = 0;
    g->has_pitched = false;
    g->outside_mode_at = NO_LIMIT;
    memset(g->must_play, 0, sizeof g->must_play);
    g->must_play_count = 0;
    g->has_limits = false;
    memset(g->kept, 0, sizeof g->kept);
    memset(g->required, 0, sizeof g->required);
    memset(g->blocks, 0, sizeof g->blocks);
    g->later_pitches = count_later_pitches(g);
    g->program = g->position = g->pitch = g->pitch_without_duration = NONE;
}

static void start_meter(GrammarState *g, int32_t bar, int32_t unit) {
    g->program = g->position = NONE;
    memset(g->blocks, 0, sizeof g->blocks);
    g->unit = unit;
    g->length = least(most(bar / unit, 1), POSITIONS);
    for (int32_t i = 0; i < g->length; i++)
        g->onsets_left[i] = i && g->rules.downbeat_only ? 0 : g->rules.max_at_once;
    grammar_free_voices(g, 2 * g->length, unit, g->voices_left);
    g->later_pitches = count_later_pitches(g);
    update_free_onsets(g);
    g->notes_required =
        least(g->notes_required, g->notes_started + max_notes(g, g->later_pitches));
    g->must_be_off_beat = g->rules.off_beat && close_first_beats(g);
}

static void close_bar(GrammarState *g) {
    int32_t bar = g->length * g->unit;
    g->in_bar = false;
    g->empty_bars = g->notes_started ? 0 : least(g->empty_bars + 1, NO_LIMIT);
    for (int32_t i = 0; i < PROGRAMS; i++)
        for (int32_t track = 0; g->has_note_ends[i] >> track; track++) {
            if (!(g->has_note_ends[i] >> track & 1)) continue;
            int16_t *ends = g->note_ends[i][track];
            bool any = false;
            for (int32_t pitch = 0; pitch < PITCHES; pitch++)
                any |= (ends[pitch] = (int16_t)most(ends[pitch] - bar, 0)) > 0;
            if (!any) g->has_note_ends[i] &= (uint8_t)~(1 << track);
        }
    for (int32_t i = 0; i < PROGRAMS; i++)
        for (int32_t track = 0; track < MAX_TRACKS; track++)
            g->part_ends[i][track] = most(g->part_ends[i][track] - bar, 0);
}

/* Adds a note to the part that plays; times from the bar line. */
static void add_to_line(GrammarState *g, int32_t start, int32_t end) {
    LineStats *stats = &g->line_stats[g->program][g->track];
    int32_t *last = &g->part_ends[g->program][g->track];
    stats->notes = least(stats->notes + 1, NO_LIMIT);
    stats->overlapping = least(stats->overlapping + most(least(*last, end) - start, 0), NO_LIMIT);
    stats->sounding = least(stats->sounding + most(end - most(*last, start), 0), NO_LIMIT);
    *last = most(*last, end);
}

static void find_lines(GrammarState *g) {
    memset(g->is_line, 0, sizeof g->is_line);
    for (int32_t i = 0; i < PROGRAMS; i++)
        for (int32_t track = 0; track < MAX_TRACKS; track++) {
            const LineStats *stats = &g->line_stats[i][track];
            bool is_line = i != DRUM_PROGRAM && stats->notes >= 8 &&
                           stats->overlapping * 50ll <= stats->sounding;
            if (is_line) g->is_line[i] |= (uint8_t)(1 << track);
        }
}

static void set_must_play(GrammarState *g, int32_t program, int32_t must_play) {
    g->must_play_count += must_play - g->must_play[program];
    g->must_play[program] = (uint8_t)must_play;
}

static void open_block(GrammarState *g, int32_t program) {
    if (g->kind == PROGRAM && g->program != NONE)
        set_must_play(g, g->program, most(required_left(g, g->program), 1));
    if (g->blocks[program] < MAX_TRACKS) g->blocks[program]++;
    g->program = program, g->track = g->blocks[program] - 1, g->is_empty = true;
    g->position = g->pitch = NONE;
    g->later_pitches = count_later_pitches(g);
}

static void start_position(GrammarState *g, int32_t position) {
    g->position = least(position, g->length - 1), g->pitch = NONE;
    if (needs_first(g) && g->program != NONE) close_beats(g, g->position);
}

static void change_voices(GrammarState *g, int32_t start, int32_t stop, int32_t by) {
    for (int32_t i = start; i < least(stop, 2 * g->length); i++) g->voices_left[i] += by;
}

static void start_note(GrammarState *g, int32_t pitch) {
    int32_t program = g->program, position = g->position;
    if (program == NONE || position < 0) return;
    g->pitch = g->pitch_without_duration = pitch;
    g->notes_started++, g->notes_required--;
    if (g->is_empty) set_must_play(g, program, required_left(g, program));
    g->is_empty = false;
    if (program != DRUM_PROGRAM) {
        g->has_pitched = true;
        if (!(g->rules.mode >> pitch % 12 & 1))
            g->outside_mode_at = least(g->outside_mode_at, position);
    }
    /* The earlier note of this pitch ends where it starts again. */
    int16_t *end = &g->note_ends[program][g->track][pitch];
    change_voices(g, position, divided_up(*end, g->unit), 1);
    change_voices(g, position, position + 1, -1);
    *end = 0;
    g->onsets_left[position]--;
    update_free_onsets(g);
}

static void end_note(GrammarState *g, int32_t duration) {
    if (g->pitch_without_duration == NONE || g->program == NONE) return;
    int32_t end = g->position + duration;
    g->note_ends[g->program][g->track][g->pitch_without_duration] =
        (int16_t)least(end * g->unit, INT16_MAX);
    g->has_note_ends[g->program] |= (uint8_t)(1 << g->track);
    add_to_line(g, g->position * g->unit, end * g->unit);
    g->pitch_without_duration = NONE;
    change_voices(g, g->position + 1, end, -1);
    update_free_onsets(g);
}

static void open_bar(GrammarState *g) {
    if (g->in_bar) close_bar(g);
    start_bar(g);
}

static void advance(GrammarState *g, const TokenTable *table, int32_t token) {
    int32_t kind = table->kind[token], value = table->value[token];
    switch (kind) {
    case PITCH:
    case DRUM: start_note(g, value); break;
    case DURATION: end_note(g, value); break;
    case POSITION: start_position(g, value); break;
    case PROGRAM: open_block(g, value == DRUMS ? DRUM_PROGRAM : value); break;
    case TIME_SIGNATURE: start_meter(g, value, table->unit[token]); break;
    case BAR:
        if (g->in_bar) open_bar(g);
        g->in_bar = true;
        break;
    case OTHER:
        if (token != table->eos) return; /* PAD and BOS */
        kind = ENDED;
    }
    g->kind = kind;
}

/* Entry points ---------------------------------------------------------------------------------- */

int64_t grammar_state_bytes(void) { return sizeof(GrammarState); }

int32_t grammar_begin(GrammarState *g, const TokenTable *table, const BarRules *rules) {
    memset(g, 0, sizeof *g);
    int32_t error = set_rules(g, table, rules);
    if (error) return error;
    g->other_tracks = MAX_TRACKS;
    g->drums_are_last = true;
    start_bar(g);
    start_meter(g, 4 * 48, 4); /* 4/4 */
    return CORE_OK;
}

static void read_tracks(GrammarState *g, const TokenTable *table, const int32_t *ids,
                        int64_t count) {
    uint8_t blocks[PROGRAMS] = {0};
    for (int64_t i = 0; i < count; i++) {
        int32_t kind = table->kind[ids[i]], value = table->value[ids[i]];
        if (kind != BAR && kind != PROGRAM) continue;
        g->other_tracks = 1;
        if (kind == BAR) memset(blocks, 0, sizeof blocks);
        else {
            int32_t program = value == DRUMS ? DRUM_PROGRAM : value;
            if (blocks[program] < MAX_TRACKS) blocks[program]++;
            if (g->tracks[program] < blocks[program]) g->tracks[program] = blocks[program];
            if (program != DRUM_PROGRAM && blocks[DRUM_PROGRAM]) g->drums_are_last = false;
        }
    }
}

int32_t grammar_read_prompt(GrammarState *g, const TokenTable *table, const int32_t *ids,
                            int64_t count) {
    int32_t error = check_ids(table, ids, count);
    if (error) return error;
    read_tracks(g, table, ids, count); /* also those of a long bar that lost its Bar token */
    g->later_pitches = count_later_pitches(g);
    int64_t start = 0;
    while (start < count && table->kind[ids[start]] != BAR) start++;
    int64_t i = start < count ? start : 0, recent = count; /* where the last eight bars begin */
    for (int32_t bars = 0; recent > i && bars < 8;) bars += table->kind[ids[--recent]] == BAR;
    for (; i < recent; i++) advance(g, table, ids[i]);
    memset(g->line_stats, 0, sizeof g->line_stats);
    for (; i < count; i++) advance(g, table, ids[i]);
    find_lines(g);
    return CORE_OK;
}

int32_t grammar_open_bar(GrammarState *g, const TokenTable *table, const BarRules *rules) {
    int32_t error = rules ? set_rules(g, table, rules) : CORE_OK;
    if (!error) open_bar(g);
    return error;
}

/* Whether the bar has room for one more block that must have a note. */
static bool has_room(const GrammarState *g) {
    int32_t left = least(max_notes(g, g->later_pitches), g->rules.most - g->notes_started);
    return left > g->must_play_count;
}

int32_t grammar_limit_parts(GrammarState *g, const uint8_t *kept, const uint8_t *added,
                            const uint8_t *required, const uint8_t *lines) {
    for (int32_t i = 0; i < PROGRAMS; i++)
        if (kept[i] + added[i] > (i == DRUM_PROGRAM ? 1 : MAX_TRACKS)) return CORE_BAD_RULES;
    if (!g->in_bar || g->kind == BETWEEN_BARS || g->kind == ENDED) return CORE_NO_OPEN_BAR;
    if (g->kind == BAR || g->kind == POSITION || g->kind == PITCH || g->kind == DRUM)
        return CORE_BAD_KEPT;
    if (g->program != NONE) g->kind = DURATION;
    g->program = g->position = g->pitch = NONE;
    g->has_limits = true;
    memcpy(g->kept, kept, sizeof g->kept);
    memcpy(g->added, added, sizeof g->added);
    memset(g->required, 0, sizeof g->required);
    g->must_be_off_beat = false;
    g->later_pitches = count_later_pitches(g);
    g->notes_required = least(g->notes_required, max_notes(g, g->later_pitches));
    if (g->later_pitches == blocks_left(g, DRUM_PROGRAM) * pitches_of(g, DRUM_PROGRAM))
        g->has_pitched = true; /* drums alone may follow */
    memset(g->must_play, 0, sizeof g->must_play);
    g->must_play_count = 0;
    for (int32_t i = 0; i < PROGRAMS; i++) {
        const int32_t parts = ((1 << added[i]) - 1) << kept[i];
        const int32_t blocks = blocks_left(g, i) && pitches_of(g, i) ? parts & required[i] : 0;
        for (int32_t track = g->blocks[i]; blocks >> track; track++)
            if (blocks >> track & 1 && has_room(g)) {
                g->required[i] |= (uint8_t)(1 << track);
                set_must_play(g, i, g->must_play[i] + 1);
            }
        if (lines[i]) g->is_line[i] |= (uint8_t)parts;
    }
    return CORE_OK;
}

int32_t grammar_advance(GrammarState *g, const TokenTable *table, const int32_t *ids,
                        int64_t count) {
    int32_t error = check_ids(table, ids, count);
    for (int64_t i = 0; i < count && !error; i++) advance(g, table, ids[i]);
    return error;
}
