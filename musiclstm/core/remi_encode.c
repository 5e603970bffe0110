/* Score to token ids: the compiled form of tokens/quantize.py and tokens/encoding.py. */
#include "remi.h"

/* A note with a token, rounded to the grid. */
typedef struct {
    int32_t source_tick, tick; /* before rounding, and after it in ticks of the grid */
    int32_t duration;          /* Duration token */
    int16_t track;
    uint8_t pitch;
} GridNote;

typedef struct {
    int32_t tick, token;
} GridTempo;

typedef struct {
    Grid grid;
    GridNote *notes;
    GridTempo *tempos;
    SortItem *items, *scratch; /* for all notes or tempos */
    int64_t note_count, tempo_count;
} GridScore;

/* A part or a track, for sorting by pitch. */
typedef struct {
    int32_t index, program, first_track;
    int64_t count, total; /* different notes, and the sum of their pitches */
} PartPitch;

int64_t remi_scratch_bytes(const Score *score) {
    if (!remi_counts_fit(score)) return CORE_BAD_LENGTH;
    const int64_t notes = score->note_count, tempos = (int64_t)score->tempo_count + 1;
    return remi_grid_bytes(score) + notes * (int64_t)sizeof(GridNote)
         + tempos * (int64_t)sizeof(GridTempo) + 2 * (notes + tempos) * (int64_t)sizeof(SortItem)
         + score->tracks * (int64_t)(sizeof(PartPitch) + sizeof(int32_t)) + 8 * REMI_ALIGNMENT;
}

/* Rounding to the grid ------------------------------------------------------------------------- */

/* Returns the nearest Duration token, the longer one of two. */
static int32_t nearest_duration(const TokenTable *table, int64_t ticks, int64_t step) {
    const int16_t *values = table->value + table->first[DURATION];
    int32_t low = 0, high = table->count[DURATION] - 1; /* the first one that is long enough */
    while (low < high) {
        int32_t middle = (low + high) / 2;
        if (values[middle] * step < ticks) low = middle + 1;
        else high = middle;
    }
    bool is_nearer = low && 2 * ticks < (values[low - 1] + values[low]) * step;
    return table->first[DURATION] + low - is_nearer;
}

static int32_t round_notes(GridScore *piece, const TokenTable *table, const Score *score) {
    const Grid *grid = &piece->grid;
    const int64_t quarter = score->ticks_per_quarter;
    int64_t near = 0;
    piece->note_count = 0;
    for (int32_t i = 0; i < score->note_count; i++) {
        const ScoreNote *note = &score->notes[i];
        if (pitch_id(table, note->pitch, score->programs[note->track] == DRUMS) < 0) continue;
        int64_t tick = remi_rounded(grid, remi_resampled(grid, note->tick, quarter), near);
        near = remi_section(grid, tick, near);
        if (!remi_is_in_range(grid, tick)) return CORE_BAD_TICK;
        int64_t ticks = remi_resampled(grid, remi_most(note->duration, 0), quarter);
        piece->notes[piece->note_count++] = (GridNote){
            .source_tick = note->tick,
            .tick = (int32_t)tick,
            .duration = nearest_duration(table, ticks, grid->sections[near].step_ticks),
            .track = (int16_t)note->track,
            .pitch = (uint8_t)note->pitch,
        };
    }
    return CORE_OK;
}

/* Returns the index of the nearest tempo by microseconds per quarter; of two the slower one. */
static int32_t nearest_tempo(int32_t mspq) {
    int32_t found = TEMPOS - 1; /* the slowest that is not faster, else the slowest of all */
    while (found > 0 && 60e6 / (remi_tempos[found] / 100.0) < mspq) found--;
    if (found == TEMPOS - 1) return found;
    double above = 60e6 / (remi_tempos[found] / 100.0);
    double below = 60e6 / (remi_tempos[found + 1] / 100.0);
    double to_above = above > mspq ? above - mspq : mspq - above;
    return mspq - below < to_above ? found + 1 : found;
}

static int32_t round_tempos(GridScore *piece, const TokenTable *table, const Score *score) {
    const int32_t first = table->first[TEMPO], usual = first + DEFAULT_BPM_INDEX;
    GridTempo *tempos = piece->tempos + 1; /* one may be added in front */
    int64_t found = 0;
    for (int32_t i = 0; i < score->tempo_count; i++)
        piece->items[i] = (SortItem){score->tempos[i].tick, i, score->tempos[i].mspq};
    remi_sort(piece->items, piece->scratch, score->tempo_count);
    for (int32_t i = 0; i < score->tempo_count; i++) {
        int64_t tick = remi_resampled(&piece->grid, piece->items[i].key, score->ticks_per_quarter);
        tick = remi_rounded(&piece->grid, tick, 0);
        if (!remi_is_in_range(&piece->grid, tick)) return CORE_BAD_TICK;
        if (found && tempos[found - 1].tick == tick) found--; /* the last one at a tick counts */
        tempos[found++] = (GridTempo){(int32_t)tick, first + nearest_tempo(piece->items[i].second)};
    }
    int64_t changes = 0;
    for (int64_t i = 0; i < found; i++)
        if (!changes || tempos[changes - 1].token != tempos[i].token) tempos[changes++] = tempos[i];
    if (changes && tempos[0].token == usual) tempos[0].tick = 0;
    bool is_late = !changes || tempos[0].tick > 0;
    if (is_late) piece->tempos[0] = (GridTempo){0, usual};
    piece->tempos += !is_late, piece->tempo_count = changes + is_late;
    return CORE_OK;
}

static int32_t round_score(GridScore *piece, const TokenTable *table, const Score *score,
                           char **memory) {
    int32_t error = remi_check_table(table);
    if (!error) error = remi_check_score(score);
    if (error) return error;
    const int64_t tempos = (int64_t)score->tempo_count + 1;
    const int64_t most = remi_most(score->note_count, tempos);
    remi_make_grid(&piece->grid, table, score, memory);
    piece->notes = remi_take(memory, score->note_count * (int64_t)sizeof *piece->notes);
    piece->tempos = remi_take(memory, tempos * (int64_t)sizeof *piece->tempos);
    piece->items = remi_take(memory, most * (int64_t)sizeof *piece->items);
    piece->scratch = remi_take(memory, most * (int64_t)sizeof *piece->scratch);
    const Grid *grid = &piece->grid;
    if (!remi_is_in_range(grid, grid->sections[grid->count - 1].start)) return CORE_BAD_TICK;
    error = round_notes(piece, table, score);
    return error ? error : round_tempos(piece, table, score);
}

/* Order of parts ------------------------------------------------------------------------------- */

static bool is_higher(const PartPitch *a, const PartPitch *b) {
    if ((a->program == DRUMS) != (b->program == DRUMS)) return b->program == DRUMS;
    double mean = (double)a->total / (double)remi_most(a->count, 1);
    double other = (double)b->total / (double)remi_most(b->count, 1);
    if (mean != other) return mean > other;
    if (a->count != b->count) return a->count > b->count;
    return a->program != b->program ? a->program < b->program : a->first_track < b->first_track;
}

/* Counts the notes of parts, equal ones of a part once, and sorts the parts by pitch. */
static void sort_by_pitch(GridScore *piece, const int32_t *part_of_track, PartPitch *parts,
                          int32_t count) {
    SortItem *items = piece->items;
    for (int64_t i = 0; i < piece->note_count; i++) {
        const GridNote *note = &piece->notes[i];
        int64_t part = part_of_track[note->track];
        items[i] = (SortItem){part << 38 | (int64_t)note->tick << 7 | note->pitch, 0, 0};
    }
    remi_sort(items, piece->scratch, piece->note_count);
    for (int64_t i = 0; i < piece->note_count; i++) {
        if (i && items[i].key == items[i - 1].key) continue;
        PartPitch *part = &parts[items[i].key >> 38];
        part->count++, part->total += items[i].key & 127;
    }
    for (int32_t i = 1; i < count; i++) {
        PartPitch moved = parts[i];
        int32_t at = i;
        for (; at > 0 && is_higher(&moved, &parts[at - 1]); at--) parts[at] = parts[at - 1];
        parts[at] = moved;
    }
}

/* Joins all drum tracks, and the tracks of a program from the eighth on. parts: tracks by pitch.
 * Writes the joined parts in place, by their first tracks; returns how many there are. */
static int32_t join_parts(int32_t *part_of_track, PartPitch *parts, int32_t count) {
    int32_t counts[PROGRAMS] = {0}, joined[PROGRAMS], found = 0;
    for (int32_t i = 0; i < count; i++) {
        const PartPitch track = parts[i];
        const int32_t program = track.program - DRUMS;
        const int32_t most = track.program == DRUMS ? 1 : MAX_TRACKS;
        if (counts[program] < most) {
            parts[found] = (PartPitch){found, track.program, track.first_track, 0, 0};
            joined[program] = found++;
            counts[program]++;
        }
        PartPitch *part = &parts[joined[program]];
        part->first_track = (int32_t)remi_least(part->first_track, track.first_track);
        part_of_track[track.first_track] = joined[program];
    }
    return found;
}

static void renumber(int32_t *part_of_track, int32_t tracks, const PartPitch *parts, int32_t count,
                     int32_t *rank) {
    for (int32_t i = 0; i < count; i++) rank[parts[i].index] = i;
    for (int32_t i = 0; i < tracks; i++)
        if (part_of_track[i] != NONE) part_of_track[i] = rank[part_of_track[i]];
}

int32_t remi_order_parts(const TokenTable *table, const Score *score, int32_t *part_of_track,
                         char *scratch) {
    GridScore piece;
    const int64_t tracks = score->tracks;
    int32_t error = round_score(&piece, table, score, &scratch), count = 0;
    if (error) return error;
    PartPitch *parts = remi_take(&scratch, tracks * (int64_t)sizeof *parts);
    int32_t *rank = remi_take(&scratch, tracks * (int64_t)sizeof *rank);
    for (int32_t i = 0; i < tracks; i++) part_of_track[i] = NONE;
    for (int64_t i = 0; i < piece.note_count; i++) part_of_track[piece.notes[i].track] = 0;
    for (int32_t i = 0; i < tracks; i++) {
        if (part_of_track[i] == NONE) continue;
        parts[count] = (PartPitch){count, score->programs[i], i, 0, 0};
        part_of_track[i] = count++;
    }
    sort_by_pitch(&piece, part_of_track, parts, count);
    int32_t joined = join_parts(part_of_track, parts, count);
    if (joined < count) sort_by_pitch(&piece, part_of_track, parts, joined);
    renumber(part_of_track, score->tracks, parts, joined, rank);
    return joined;
}

/* Tokens --------------------------------------------------------------------------------------- */

typedef struct {
    int32_t count;
    int32_t programs[MAX_SCORE_PARTS]; /* of each part */
} Parts;

typedef struct {
    int32_t *ids;
    int64_t capacity, count;
} Writer;

/* Part, position, pitch: the parts of a key below the bar. */
enum { PITCH_BITS = 7, POSITION_BITS = 8, PART_BITS = 11, BAR_SHIFT = 26 };

static inline int64_t bar_of(const SortItem *item) { return item->key >> BAR_SHIFT; }

static inline int32_t part_of(const SortItem *item) {
    return (item->key >> (PITCH_BITS + POSITION_BITS)) & ((1 << PART_BITS) - 1);
}

static inline int32_t position_of(const SortItem *item) {
    return (item->key >> PITCH_BITS) & ((1 << POSITION_BITS) - 1);
}

static inline int32_t pitch_of(const SortItem *item) { return item->key & ((1 << PITCH_BITS) - 1); }

static int32_t find_parts(Parts *parts, const Score *score, const int32_t *part_of_track) {
    int32_t counts[PROGRAMS] = {0};
    parts->count = 0;
    for (int32_t i = 0; i < MAX_SCORE_PARTS; i++) parts->programs[i] = PROGRAMS; /* unknown */
    for (int32_t i = 0; i < score->tracks; i++) {
        int32_t part = part_of_track[i];
        if (part == NONE) continue;
        if (!within(part, 0, MAX_SCORE_PARTS - 1)) return CORE_BAD_TRACK;
        int32_t *program = &parts->programs[part];
        if (*program != PROGRAMS && *program != score->programs[i]) return CORE_BAD_PROGRAM;
        *program = score->programs[i];
        parts->count = (int32_t)remi_most(parts->count, part + 1);
    }
    for (int32_t i = 0; i < parts->count; i++) {
        int32_t program = parts->programs[i];
        if (program == PROGRAMS) return CORE_BAD_TRACK;
        const int32_t most = program == DRUMS ? 1 : MAX_TRACKS;
        if (counts[program - DRUMS]++ == most) return CORE_BAD_PROGRAM;
    }
    return CORE_OK;
}

/* Sorts the notes of the parts, and keeps one of equal notes; returns how many are kept.
 *
 * Of notes with equal onsets before rounding the longest stays, of notes with equal onsets after
 * rounding the shortest, as in MidiTok. The kept items hold the Duration token as `second`. */
static int64_t distinct_notes(GridScore *piece, const int32_t *part_of_track) {
    SortItem *items = piece->items;
    int64_t count = 0, kept = 0;
    for (int64_t i = 0, near = 0; i < piece->note_count; i++) {
        const GridNote *note = &piece->notes[i];
        int64_t part = part_of_track[note->track];
        if (part == NONE) continue;
        near = remi_section(&piece->grid, note->tick, near);
        const Section *section = &piece->grid.sections[near];
        int64_t bar = remi_bar(section, note->tick), position = remi_position(section, note->tick);
        int64_t place = part << (PITCH_BITS + POSITION_BITS) | position << PITCH_BITS | note->pitch;
        items[count++] = (SortItem){bar << BAR_SHIFT | place, note->source_tick, -note->duration};
    }
    remi_sort(items, piece->scratch, count);
    for (int64_t i = 0; i < count; i++) {
        if (i && items[i].key == items[i - 1].key && items[i].first == items[i - 1].first) continue;
        if (kept && items[kept - 1].key == items[i].key)
            items[kept - 1].second = (int32_t)remi_least(items[kept - 1].second, -items[i].second);
        else
            items[kept++] = (SortItem){items[i].key, items[i].first, -items[i].second};
    }
    return kept;
}

/* Returns the number of bars up to the last event and the end of the last note. */
static int64_t count_bars(const GridScore *piece, const TokenTable *table, const SortItem *notes,
                          int64_t count) {
    const Grid *grid = &piece->grid;
    int64_t last = remi_most(grid->sections[grid->count - 1].start,
                             piece->tempos[piece->tempo_count - 1].tick);
    for (int64_t i = 0, at = 0; i < count; i++) { /* notes by bar */
        while (at + 1 < grid->count && grid->sections[at + 1].first_bar <= bar_of(&notes[i])) at++;
        const Section *section = &grid->sections[at];
        int64_t steps = position_of(&notes[i]) + table->value[notes[i].second];
        int64_t bars = bar_of(&notes[i]) - section->first_bar;
        int64_t end = bars * section->bar_ticks + steps * section->step_ticks;
        last = remi_most(last, section->start + end);
    }
    return remi_bar(&grid->sections[remi_section(grid, last, 0)], last) + 1;
}

static void put(Writer *writer, int32_t id) {
    if (writer->count < writer->capacity) writer->ids[writer->count] = id;
    writer->count++;
}

/* Writes the notes of a part in a bar; returns how many. */
static int64_t put_block(Writer *writer, const TokenTable *table, const SortItem *notes,
                         int64_t count, int32_t program) {
    const int64_t block = notes->key >> (PITCH_BITS + POSITION_BITS);
    int64_t i = 0;
    put(writer, program_id(table, program));
    for (; i < count && notes[i].key >> (PITCH_BITS + POSITION_BITS) == block; i++) {
        int32_t position = position_of(&notes[i]);
        bool is_onset = !i || position != position_of(&notes[i - 1]);
        if (is_onset) put(writer, table->position_ids[position]);
        put(writer, pitch_id(table, pitch_of(&notes[i]), program == DRUMS));
        put(writer, notes[i].second);
    }
    return i;
}

/* Writes the blocks of a bar, empty ones for parts that rest while a later part of their program
 * plays; returns the number of notes. */
static int64_t put_blocks(Writer *writer, const TokenTable *table, const SortItem *notes,
                          int64_t count, const Parts *parts) {
    int32_t last[PROGRAMS];
    int64_t end = 0, i = 0;
    for (int32_t program = 0; program < PROGRAMS; program++) last[program] = NONE;
    for (; end < count && bar_of(&notes[end]) == bar_of(notes); end++)
        last[parts->programs[part_of(&notes[end])] - DRUMS] = part_of(&notes[end]);
    for (int32_t part = 0; i < end; part++) {
        const int32_t program = parts->programs[part];
        if (part_of(&notes[i]) == part)
            i += put_block(writer, table, notes + i, end - i, program);
        else if (last[program - DRUMS] > part)
            put(writer, program_id(table, program));
    }
    return end;
}

static void put_tempo(Writer *writer, const TokenTable *table, const Section *section,
                      const GridTempo *tempo) {
    put(writer, table->position_ids[remi_position(section, tempo->tick)]);
    put(writer, tempo->token);
}

static void put_bars(Writer *writer, const TokenTable *table, const GridScore *piece,
                     const SortItem *notes, int64_t count, const Parts *parts) {
    const Grid *grid = &piece->grid;
    const int64_t bars = count_bars(piece, table, notes, count);
    int64_t at = 0, note = 0, tempo = 0;
    for (int64_t bar = 0; bar < bars; bar++) {
        while (at + 1 < grid->count && grid->sections[at + 1].first_bar <= bar) at++;
        const Section *section = &grid->sections[at];
        put(writer, table->bar);
        put(writer, section->token);
        const GridTempo *tempos = piece->tempos;
        const int64_t bar_end = section->start + (bar + 1 - section->first_bar) * section->bar_ticks;
        const int64_t end = remi_least(bar_end, section->end);
        for (; tempo < piece->tempo_count && tempos[tempo].tick < end; tempo++)
            put_tempo(writer, table, section, &tempos[tempo]);
        if (note < count && bar_of(&notes[note]) == bar)
            note += put_blocks(writer, table, notes + note, count - note, parts);
    }
}

int64_t remi_encode(const TokenTable *table, const Score *score, const int32_t *part_of_track,
                    int32_t *ids, int64_t capacity, char *scratch) {
    GridScore piece;
    Parts parts;
    Writer writer = {ids, capacity, 0};
    int32_t error = round_score(&piece, table, score, &scratch);
    if (!error) error = find_parts(&parts, score, part_of_track);
    if (error) return error;
    int64_t count = distinct_notes(&piece, part_of_track);
    if (count) put_bars(&writer, table, &piece, piece.items, count, &parts);
    return writer.count;
}
