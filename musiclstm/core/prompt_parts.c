/* Parts of a prompt, and what new bars take from it: generation/{instrument_mapping,loudness,
 * append_bars}.py in C. */
#include "prompt.h"

enum {
    FEWEST_AT_ONCE = 4, /* default limit for a melody, so that it may get an accompaniment */
    MOST_AT_ONCE = 32,
    DEFAULT_VELOCITY = 80,
    DEFAULT_DRUM_VELOCITY = 90,
    DOWNBEAT_ACCENT = 8,
    BEAT_ACCENT = 4,
};

/* Programs ------------------------------------------------------------------------------------- */

static int32_t distance(int32_t program, int32_t other) {
    int32_t semitones = program < other ? other - program : program - other;
    return (program / 8 != other / 8) * 2 * PROGRAMS + semitones;
}

/* Returns the nearest of the pitched programs; of two the lower one; UNMAPPED without any. */
static int32_t nearest_program(const uint8_t *programs, const uint8_t *used, int32_t program) {
    int32_t found = UNMAPPED;
    for (int32_t other = 0; other < PROGRAMS - 1; other++) {
        if (!programs[other] || (used && used[other])) continue;
        if (found == UNMAPPED || distance(program, other) < distance(program, found)) found = other;
    }
    return found;
}

void prompt_map_programs(const uint8_t *programs, const uint8_t *trained, int32_t *substitutes) {
    uint8_t added[PROGRAMS], free[PROGRAMS], used[PROGRAMS] = {0};
    bool has_free = false;
    for (int32_t i = 0; i < PROGRAMS; i++) {
        added[i] = programs[i] && substitutes[i] == UNMAPPED;
        free[i] = !trained || trained[i];
    }
    for (int32_t i = 0; i < PROGRAMS; i++) /* those that earlier requests use */
        if (substitutes[i] != UNMAPPED && !added[index_of(substitutes[i])])
            free[index_of(substitutes[i])] = 0;
    for (int32_t i = 0; i < PROGRAMS - 1; i++) has_free |= free[i];
    for (int32_t i = 0; i < PROGRAMS && !has_free; i++) free[i] = !trained || trained[i];
    for (int32_t i = 0; i < PROGRAMS; i++) {
        if (!added[i] || !(free[i] || i == PROGRAMS - 1)) continue;
        substitutes[i] = i == PROGRAMS - 1 ? DRUMS : i;
        used[i] = 1;
    }
    for (int32_t i = 0; i < PROGRAMS - 1; i++) {
        if (!added[i] || substitutes[i] != UNMAPPED) continue;
        int32_t found = nearest_program(free, used, i);
        if (found == UNMAPPED) found = nearest_program(free, NULL, i);
        substitutes[i] = found == UNMAPPED ? i : found;
        used[substitutes[i]] = 1;
    }
}

/* Parts ---------------------------------------------------------------------------------------- */

static void count_parts(Prompt *prompt, const Score *score, int32_t *counts) {
    for (int32_t i = 0; i < PROGRAMS; i++) counts[i] = 0;
    for (int32_t part = 0; part < prompt->part_count; part++) {
        for (int32_t i = 0; i < score->tracks; i++) {
            if (prompt->part_of_track[i] != part) continue;
            prompt->programs[part] = score->programs[i];
            prompt->order[prompt->track_count++] = i;
        }
        prompt->numbers[part] = counts[index_of(prompt->programs[part])]++;
    }
}

static int32_t find_part(const Prompt *prompt, int32_t program, int32_t number) {
    for (int32_t part = 0; prompt && part < prompt->part_count; part++)
        if (prompt->programs[part] == program && prompt->numbers[part] == number) return part;
    return NONE;
}

static void add_silent_track(Prompt *prompt, const Score *score, int32_t track, int32_t *counts) {
    const int32_t program = score->programs[track], most = program == DRUMS ? 1 : MAX_TRACKS;
    const int32_t number = (int32_t)remi_least(counts[index_of(program)]++, most - 1);
    int32_t part = find_part(prompt, program, number);
    if (part == NONE) {
        part = prompt->part_count++;
        prompt->programs[part] = program, prompt->numbers[part] = number;
    }
    prompt->part_of_track[track] = part, prompt->order[prompt->track_count++] = track;
}

/* Lists the tracks of each part. Tracks without notes in the bars that are read become the next
 * parts of their programs, by descending mean pitch. */
static void list_tracks(Prompt *prompt, const Score *score, char *memory) {
    int32_t counts[PROGRAMS];
    int64_t *sums = remi_take(&memory, score->tracks * (int64_t)sizeof *sums);
    int64_t *notes = remi_take(&memory, score->tracks * (int64_t)sizeof *notes);
    memset(sums, 0, (size_t)score->tracks * sizeof *sums);
    memset(notes, 0, (size_t)score->tracks * sizeof *notes);
    for (int32_t i = 0; i < score->note_count; i++)
        sums[score->notes[i].track] += score->notes[i].pitch, notes[score->notes[i].track]++;
    count_parts(prompt, score, counts);
    for (;;) {
        int32_t highest = NONE;
        double highest_mean = 0;
        for (int32_t i = 0; i < score->tracks; i++) {
            if (!notes[i] || prompt->part_of_track[i] != NONE) continue;
            double mean = (double)sums[i] / (double)notes[i];
            if (highest == NONE || mean > highest_mean) highest = i, highest_mean = mean;
        }
        if (highest == NONE) return;
        add_silent_track(prompt, score, highest, counts);
    }
}

/* Statistics ----------------------------------------------------------------------------------- */

/* Returns the end of a run of equal keys. */
static int64_t run_end(const SortItem *items, int64_t count, int64_t begin) {
    int64_t end = begin;
    while (end < count && items[end].key == items[begin].key) end++;
    return end;
}

/* Returns twice the median of `first`. */
static int32_t twice_median(const SortItem *items, int64_t count) {
    return items[(count - 1) / 2].first + items[count / 2].first;
}

static void find_median_pitches(Prompt *prompt, const Score *score, SortItem *items,
                                SortItem *scratch) {
    const int64_t count = score->note_count;
    for (int32_t i = 0; i < score->tracks; i++) prompt->pitches[i] = 2 * 60;
    for (int32_t i = 0; i < count; i++)
        items[i] = (SortItem){score->notes[i].track, score->notes[i].pitch, 0};
    remi_sort(items, scratch, count);
    for (int64_t begin = 0, end; begin < count; begin = end) {
        end = run_end(items, count, begin);
        prompt->pitches[items[begin].key] = twice_median(items + begin, end - begin);
    }
}

/* Sorts notes by onset; returns the largest number with one onset. `first`: index of the note. */
static int32_t sort_by_onset(const Score *score, SortItem *items, SortItem *scratch) {
    int64_t most = 0, count = score->note_count;
    for (int32_t i = 0; i < count; i++) items[i] = (SortItem){score->notes[i].tick, i, 0};
    remi_sort(items, scratch, count);
    for (int64_t begin = 0, end; begin < count; begin = end) {
        end = run_end(items, count, begin);
        most = remi_most(most, end - begin);
    }
    return (int32_t)most;
}

/* Replaces items by part, eighth of the bar and velocity. A performed note may start slightly
 * before its eighth: half a position of the token grid. items: notes by onset. */
static void find_eighths(const Prompt *prompt, const Score *score, BarLines lines,
                         SortItem *items) {
    const int64_t early = (int64_t)(score->ticks_per_quarter * (1.0 / 24.0));
    for (int32_t i = 0; i < score->note_count; i++) {
        const ScoreNote *note = &score->notes[items[i].first];
        const int64_t tick = note->tick + early;
        while (next_line(&lines) <= tick) move_to_next_line(&lines);
        int64_t eighth = 2 * (tick - lines.line) / score->ticks_per_quarter;
        int64_t part = prompt->part_of_track[note->track];
        items[i] = (SortItem){part << 8 | remi_least(eighth, EIGHTHS), note->velocity, 0};
    }
}

/* Writes the median velocity of each part by eighth of the bar, else of the part; halves are
 * rounded up. items: of find_eighths. */
static void find_velocities(Prompt *prompt, SortItem *items, SortItem *scratch, int64_t count) {
    remi_sort(items, scratch, count);
    memset(prompt->velocities, 0, (size_t)prompt->part_count * EIGHTHS);
    for (int64_t begin = 0, end; begin < count; begin = end) {
        end = run_end(items, count, begin);
        const int64_t eighth = items[begin].key & 255, part = items[begin].key >> 8;
        if (eighth == EIGHTHS) continue; /* beyond the longest new bar */
        prompt->velocities[part * EIGHTHS + eighth] =
            (uint8_t)((twice_median(items + begin, end - begin) + 1) / 2);
    }
    for (int64_t i = 0; i < count; i++) items[i].key >>= 8;
    remi_sort(items, scratch, count);
    for (int64_t begin = 0, end; begin < count; begin = end) {
        end = run_end(items, count, begin);
        uint8_t *own = prompt->velocities + items[begin].key * EIGHTHS;
        for (int32_t i = 0; i < EIGHTHS; i++)
            if (!own[i]) own[i] = (uint8_t)((twice_median(items + begin, end - begin) + 1) / 2);
    }
}

void prompt_describe(Prompt *prompt, const Score *score, BarLines lines, SortItem *items,
                     SortItem *other, char *memory) {
    list_tracks(prompt, score, memory);
    find_median_pitches(prompt, score, items, other);
    const int64_t most = remi_most(sort_by_onset(score, items, other), FEWEST_AT_ONCE);
    prompt->max_at_once = (int32_t)remi_least(most, MOST_AT_ONCE);
    find_eighths(prompt, score, lines, items);
    find_velocities(prompt, items, other, score->note_count);
}

/* New bars ------------------------------------------------------------------------------------- */

static int32_t accent_at(const ScoreMeter *meter, int32_t offset, int32_t ticks_per_quarter) {
    bool is_compound = meter->denominator == 8 && meter->numerator > 3 && meter->numerator % 3 == 0;
    int32_t beat = 4 * ticks_per_quarter * (is_compound ? 3 : 1) / meter->denominator;
    if (!offset) return DOWNBEAT_ACCENT;
    return offset % beat ? 0 : BEAT_ACCENT;
}

/* Rounds a number of at least 0, halves to even. */
static int32_t rounded(double value) {
    int32_t below = (int32_t)value;
    double rest = value - below;
    return below + (rest > 0.5 || (rest == 0.5 && below % 2));
}

void prompt_set_velocities(const Prompt *prompt, Score *bar, const int32_t *numbers, double gain) {
    const ScoreMeter *meter = bar->meters;
    const int32_t quarter = bar->ticks_per_quarter;
    const int32_t length = 4 * quarter * meter->numerator / meter->denominator;
    for (int32_t i = 0; i < bar->note_count; i++) {
        ScoreNote *note = &bar->notes[i];
        const int32_t program = bar->programs[note->track], offset = note->tick % length;
        const int32_t part = find_part(prompt, program, numbers[note->track]);
        int32_t velocity = program == DRUMS ? DEFAULT_DRUM_VELOCITY : DEFAULT_VELOCITY;
        const int64_t eighth = remi_least(2 * offset / quarter, EIGHTHS - 1);
        if (part == NONE) velocity += accent_at(meter, offset, quarter);
        else velocity = prompt->velocities[part * EIGHTHS + eighth];
        const double louder = velocity * gain; /* compared before it becomes an integer */
        note->velocity = louder >= 1 ? louder < 127 ? rounded(louder) : 127 : 1;
    }
}

int32_t prompt_program(const Prompt *prompt, const Score *score, const int32_t *substitutes,
                       const uint8_t *permitted, int32_t program, int32_t number) {
    const int32_t part = find_part(prompt, program, number);
    for (int32_t i = 0; part != NONE && i < prompt->track_count; i++) {
        int32_t track = prompt->order[i], own = score->programs[track];
        if (prompt->part_of_track[track] == part && (!permitted || permitted[index_of(own)]))
            return own;
    }
    int32_t found = program;
    for (int32_t i = 0; substitutes && i < PROGRAMS; i++) {
        if (substitutes[i] != program || (permitted && !permitted[i])) continue;
        if (i == index_of(program)) return program;
        found = i == PROGRAMS - 1 ? DRUMS : i;
    }
    return found;
}

int32_t prompt_track(const Prompt *prompt, const Score *score, int32_t program, int32_t number,
                     int32_t played, int32_t pitch) {
    const int32_t part = find_part(prompt, program, number);
    int32_t found = NONE, nearest = 0;
    for (int32_t i = 0; part != NONE && i < prompt->track_count; i++) {
        int32_t track = prompt->order[i], twice = 2 * pitch - prompt->pitches[track];
        int32_t away = twice < 0 ? -twice : twice;
        if (prompt->part_of_track[track] != part || score->programs[track] != played) continue;
        if (found == NONE || away < nearest) found = track, nearest = away;
    }
    return found;
}
