/* Bar lines and positions of a score: the compiled form of tokens/meters.py. */
#include "remi.h"

const int32_t remi_tempos[TEMPOS] = {
    4000,  4244,  4502,  4776,  5067,  5376,  5703,  6050,  6419,  6810,  7224,
    7664,  8131,  8626,  9151,  9709,  10300, 10927, 11593, 12299, 13048, 13842,
    14685, 15579, 16528, 17535, 18603, 19735, 20937, 22212, 23565, 25000,
};

/* Sorting -------------------------------------------------------------------------------------- */

static bool is_after(const SortItem *a, const SortItem *b) {
    if (a->key != b->key) return a->key > b->key;
    return a->first != b->first ? a->first > b->first : a->second > b->second;
}

static void merge(const SortItem *from, SortItem *to, int64_t low, int64_t middle, int64_t high) {
    int64_t left = low, right = middle;
    for (int64_t i = low; i < high; i++) {
        bool from_right = left == middle || (right < high && is_after(&from[left], &from[right]));
        to[i] = from[from_right ? right++ : left++];
    }
}

void remi_sort(SortItem *items, SortItem *scratch, int64_t count) {
    SortItem *from = items, *to = scratch;
    int64_t sorted = 1;
    while (sorted < count && !is_after(&items[sorted - 1], &items[sorted])) sorted++;
    if (sorted >= count) return;
    for (int64_t width = 1; width < count; width *= 2) {
        for (int64_t low = 0; low < count; low += 2 * width) {
            int64_t middle = remi_least(low + width, count);
            merge(from, to, low, middle, remi_least(low + 2 * width, count));
        }
        SortItem *other = from;
        from = to, to = other;
    }
    if (from != items) memcpy(items, from, (size_t)count * sizeof *items);
}

/* Checks --------------------------------------------------------------------------------------- */

static bool has_row(const TokenTable *table, int32_t kind, int32_t fewest) {
    int32_t first = table->first[kind], count = table->count[kind];
    if (first == NONE || count < fewest) return false;
    for (int32_t i = 0; i < count; i++)
        if (first + i >= table->size || table->kind[first + i] != kind) return false;
    return true;
}

static bool durations_ascend(const TokenTable *table) {
    const int16_t *value = table->value + table->first[DURATION];
    for (int32_t i = 1; i < table->count[DURATION]; i++)
        if (value[i] <= value[i - 1]) return false;
    return true;
}

static bool meters_fit(const TokenTable *table) {
    for (int32_t i = 0; i < table->count[TIME_SIGNATURE]; i++) {
        int32_t token = table->first[TIME_SIGNATURE] + i, unit = table->unit[token];
        if (unit != 1 && unit != 2 && unit != 4) return false;
        if (table->value[token] % (GRID_UNITS * unit)) return false;
        if (table->value[token] / unit > POSITIONS) return false;
    }
    return remi_time_signature(table, 4, 4) != NONE;
}

int32_t remi_check_table(const TokenTable *table) {
    if (table->bar == NONE) return CORE_BAD_KIND;
    for (int32_t i = 0; i < PITCHES; i++)
        if (table->pitch_ids[i] < 0) return CORE_BAD_PITCH;
    for (int32_t i = 0; i < POSITIONS; i++)
        if (table->position_ids[i] < 0) return CORE_BAD_POSITION;
    for (int32_t i = 0; i < PROGRAMS; i++)
        if (table->program_ids[i] < 0) return CORE_BAD_PROGRAM;
    if (!has_row(table, DURATION, 1) || !durations_ascend(table)) return CORE_BAD_DURATION;
    if (!has_row(table, TIME_SIGNATURE, 1) || !meters_fit(table)) return CORE_BAD_METER;
    return has_row(table, TEMPO, TEMPOS) && table->count[TEMPO] == TEMPOS ? CORE_OK : CORE_BAD_KIND;
}

bool remi_counts_fit(const Score *score) {
    return within(score->ticks_per_quarter, 1, INT32_MAX)
        && within(score->tracks, 0, MAX_SCORE_TRACKS)
        && within(score->note_count, 0, MAX_SCORE_EVENTS)
        && within(score->tempo_count, 0, MAX_SCORE_EVENTS)
        && within(score->meter_count, 0, MAX_SCORE_EVENTS);
}

static int32_t check_note(const Score *score, const ScoreNote *note) {
    if (note->tick < 0) return CORE_BAD_TICK;
    if (!within(note->pitch, 0, PITCHES - 1)) return CORE_BAD_PITCH;
    return within(note->track, 0, score->tracks - 1) ? CORE_OK : CORE_BAD_TRACK;
}

int32_t remi_check_score(const Score *score) {
    if (!remi_counts_fit(score)) return CORE_BAD_LENGTH;
    for (int32_t i = 0; i < score->tracks; i++)
        if (!within(score->programs[i], DRUMS, PROGRAMS - 2)) return CORE_BAD_PROGRAM;
    for (int32_t i = 0, error; i < score->note_count; i++)
        if ((error = check_note(score, &score->notes[i]))) return error;
    for (int32_t i = 0; i < score->tempo_count; i++)
        if (score->tempos[i].tick < 0) return CORE_BAD_TICK;
    for (int32_t i = 0; i < score->meter_count; i++) {
        const ScoreMeter *meter = &score->meters[i];
        if (meter->tick < 0) return CORE_BAD_TICK;
        if (!within(meter->numerator, 0, 255) || !within(meter->denominator, 0, 255))
            return CORE_BAD_METER;
    }
    return CORE_OK;
}

/* Meters --------------------------------------------------------------------------------------- */

static int32_t exact_time_signature(const TokenTable *table, int64_t numerator,
                                    int64_t denominator) {
    if (denominator != 4 && denominator != 8 && denominator != 16) return NONE;
    const int32_t unit = 16 / (int32_t)denominator;
    for (int32_t i = 0; i < table->count[TIME_SIGNATURE]; i++) {
        int32_t token = table->first[TIME_SIGNATURE] + i;
        if (table->unit[token] == unit && table->value[token] == numerator * GRID_UNITS * unit)
            return token;
    }
    return NONE;
}

int32_t remi_time_signature(const TokenTable *table, int64_t numerator, int64_t denominator) {
    while (0 < denominator && denominator < 4) numerator *= 2, denominator *= 2;
    while (denominator > 8 && numerator % 2 == 0) numerator /= 2, denominator /= 2;
    return exact_time_signature(table, numerator, denominator);
}

typedef struct {
    int64_t tick;
    int32_t token;
} Change;

static int64_t bar_ticks(const TokenTable *table, int32_t token, int64_t ticks_per_quarter) {
    return 4 * ticks_per_quarter * remi_numerator(table, token) / remi_denominator(table, token);
}

/* Writes the time signatures by time, the first at tick 0; returns how many there are. Of several
 * at one tick the last one counts. A meter without a token is read as 4/4. */
static int64_t stated_changes(const TokenTable *table, const Score *score, SortItem *items,
                              SortItem *scratch, Change *changes) {
    const int32_t usual = remi_time_signature(table, 4, 4);
    int64_t valid = 0, found = 1;
    for (int32_t i = 0; i < score->meter_count; i++) {
        const ScoreMeter *meter = &score->meters[i];
        if (meter->numerator <= 0 || meter->denominator <= 0) continue;
        int32_t token = remi_time_signature(table, meter->numerator, meter->denominator);
        items[valid++] = (SortItem){meter->tick, i, token == NONE ? usual : token};
    }
    remi_sort(items, scratch, valid);
    changes[0] = (Change){0, usual};
    for (int64_t i = 0; i < valid; i++) {
        found -= changes[found - 1].tick == items[i].key;
        changes[found++] = (Change){items[i].key, items[i].second};
    }
    return found;
}

/* Returns the shortest meter of at least this length; of equal ones that of longer beats. */
static int32_t meter_of_length(const TokenTable *table, int64_t ticks, int64_t ticks_per_quarter) {
    int32_t found = NONE;
    for (int32_t i = 0; i < table->count[TIME_SIGNATURE]; i++) {
        const int32_t token = table->first[TIME_SIGNATURE] + i;
        const int64_t length = bar_ticks(table, token, ticks_per_quarter);
        if (length < ticks) continue;
        const int64_t best = found == NONE ? INT64_MAX : bar_ticks(table, found, ticks_per_quarter);
        const bool is_plainer = length == best && table->unit[token] > table->unit[found];
        if (length < best || is_plainer) found = token;
    }
    return found;
}

static void add_section(Grid *grid, int64_t start, int32_t token) {
    grid->sections[grid->count++] = (Section){.start = start, .token = token};
}

/* Begins a section at every change, except one that repeats the meter on a bar line. A bar that a
 * change shortens becomes a section of its own. Ticks per quarter of the grid are known. */
static void find_sections(Grid *grid, const TokenTable *table, const Change *changes, int64_t count,
                          int64_t source) {
    const int64_t quarter = grid->ticks_per_quarter;
    grid->count = 0;
    for (int64_t i = 0; i < count; i++) {
        const int64_t tick = remi_resampled(grid, changes[i].tick, source);
        if (i + 1 < count && remi_resampled(grid, changes[i + 1].tick, source) == tick) continue;
        if (grid->count) {
            const Section last = grid->sections[grid->count - 1];
            const int64_t rest = (tick - last.start) % bar_ticks(table, last.token, quarter);
            if (!rest && changes[i].token == last.token) continue;
            const int32_t cut = rest ? meter_of_length(table, rest, quarter) : last.token;
            if (cut != last.token) {
                grid->count -= tick - rest == last.start;
                add_section(grid, tick - rest, cut);
            }
        }
        add_section(grid, tick, changes[i].token);
    }
}

/* Fills in the lengths and the numbers of the bars. */
static void number_bars(Grid *grid, const TokenTable *table) {
    int64_t bars = 0;
    grid->step_ticks = 1;
    for (int64_t i = 0; i < grid->count; i++) {
        Section *section = &grid->sections[i];
        const int32_t denominator = remi_denominator(table, section->token);
        section->first_bar = bars;
        section->bar_ticks = (int32_t)bar_ticks(table, section->token, grid->ticks_per_quarter);
        section->step_ticks = 4 * grid->ticks_per_quarter / (GRID_UNITS * denominator);
        section->end = i + 1 < grid->count ? section[1].start : INT64_MAX;
        grid->step_ticks = (int32_t)remi_most(grid->step_ticks, section->step_ticks);
        if (i + 1 < grid->count)
            bars += (section->end - section->start + section->bar_ticks - 1) / section->bar_ticks;
    }
}

static int64_t most_changes(const Score *score) { return 2 * (int64_t)score->meter_count + 1; }

int64_t remi_grid_bytes(const Score *score) {
    const int64_t each = 2 * sizeof(SortItem) + sizeof(Change) + 2 * sizeof(Section);
    return each * (score->meter_count + 1) + 64;
}

void remi_make_grid(Grid *grid, const TokenTable *table, const Score *score, char **memory) {
    const int64_t meters = score->meter_count;
    SortItem *items = remi_take(memory, meters * (int64_t)sizeof *items);
    SortItem *scratch = remi_take(memory, meters * (int64_t)sizeof *scratch);
    Change *changes = remi_take(memory, (meters + 1) * (int64_t)sizeof *changes);
    grid->sections = remi_take(memory, most_changes(score) * (int64_t)sizeof *grid->sections);
    const int64_t count = stated_changes(table, score, items, scratch, changes);
    int32_t finest = 4, needed = 4;
    for (int64_t i = 0; i < count; i++)
        needed = (int32_t)remi_most(needed, remi_denominator(table, changes[i].token));
    do { /* the meters of shortened bars may need a finer grid */
        finest = needed;
        grid->ticks_per_quarter = GRID_UNITS * finest / 4;
        find_sections(grid, table, changes, count, score->ticks_per_quarter);
        for (int64_t i = 0; i < grid->count; i++)
            needed = (int32_t)remi_most(needed, remi_denominator(table, grid->sections[i].token));
    } while (needed > finest);
    number_bars(grid, table);
}

int64_t remi_section(const Grid *grid, int64_t tick, int64_t near) {
    const Section *sections = grid->sections;
    bool is_last = near + 1 == grid->count;
    if (sections[near].start <= tick && (is_last || tick < sections[near + 1].start)) return near;
    int64_t low = 0, high = grid->count; /* the section is in low .. high - 1 */
    while (high - low > 1) {
        int64_t middle = low + (high - low) / 2;
        if (sections[middle].start <= tick) low = middle;
        else high = middle;
    }
    return low;
}

int64_t remi_resampled(const Grid *grid, int64_t tick, int64_t ticks_per_quarter) {
    if (ticks_per_quarter == grid->ticks_per_quarter) return tick;
    return (2 * tick * grid->ticks_per_quarter + ticks_per_quarter) / (2 * ticks_per_quarter);
}

int64_t remi_rounded(const Grid *grid, int64_t tick, int64_t near) {
    if (grid->step_ticks == 1) return tick;
    const Section *section = &grid->sections[remi_section(grid, tick, near)];
    const int64_t step = section->step_ticks, steps = (tick - section->start) / step;
    const int64_t twice = 2 * ((tick - section->start) % step);
    const int64_t nearest = steps + (twice > step || (twice == step && steps % 2));
    return remi_least(section->start + nearest * step, section->end);
}
