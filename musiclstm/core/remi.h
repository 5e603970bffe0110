/* Grid of a score and sorting; only for the remi*.c files. */
#ifndef MUSICLSTM_REMI_H
#define MUSICLSTM_REMI_H

#include "token_table.h"

enum {
    DEFAULT_BPM_INDEX = 19, /* 122.99, the nearest to 120 */
    TEMPOS = 32,
    MAX_BAR_LINES = 1000000,
    REMI_ALIGNMENT = 16, /* bytes */
    GRID_UNITS = 12, /* positions in a beat, as given by the denominator */
};

/* Hundredths of a quarter note per minute of each Tempo token. */
extern const int32_t remi_tempos[TEMPOS];

/* Bars of one meter. */
typedef struct {
    int64_t start, end, first_bar;   /* ticks, number */
    int32_t bar_ticks, step_ticks;   /* length of a bar and of a position */
    int32_t token;                   /* TimeSig */
} Section;

typedef struct {
    int32_t ticks_per_quarter; /* 12, 24 or 48, depending on the smallest beat */
    int32_t step_ticks;        /* of the longest position */
    int64_t count;
    Section *sections;
} Grid;

typedef struct {
    int64_t key;
    int32_t first, second; /* compared after the key */
} SortItem;

/* Sorts in ascending order. scratch: as many items. */
void remi_sort(SortItem *items, SortItem *scratch, int64_t count);

/* Returns the next `bytes` of the caller's memory. */
static inline void *remi_take(char **memory, int64_t bytes) {
    char *taken = *memory;
    *memory += (bytes + REMI_ALIGNMENT - 1) / REMI_ALIGNMENT * REMI_ALIGNMENT;
    return taken;
}

static inline int64_t remi_least(int64_t a, int64_t b) { return a < b ? a : b; }

static inline int64_t remi_most(int64_t a, int64_t b) { return a > b ? a : b; }

/* CORE_OK for a table with all kinds of tokens, each kind in one row. */
int32_t remi_check_table(const TokenTable *table);

bool remi_counts_fit(const Score *score);

/* CORE_OK for a score whose counts and values are in range. */
int32_t remi_check_score(const Score *score);

/* Returns the TimeSig token of a meter, or of one of the same length; NONE without one. */
int32_t remi_time_signature(const TokenTable *table, int64_t numerator, int64_t denominator);

static inline int32_t remi_denominator(const TokenTable *table, int32_t token) {
    return 16 / table->unit[token];
}

static inline int32_t remi_numerator(const TokenTable *table, int32_t token) {
    return table->value[token] / (GRID_UNITS * table->unit[token]);
}

/* Makes the grid of a checked score, in memory of remi_grid_bytes. */
void remi_make_grid(Grid *grid, const TokenTable *table, const Score *score, char **memory);

int64_t remi_grid_bytes(const Score *score);

/* Returns the section of a tick; `near`: a section to try first. */
int64_t remi_section(const Grid *grid, int64_t tick, int64_t near);

/* Converts a tick of the score to a tick of the grid, rounding halves up. */
int64_t remi_resampled(const Grid *grid, int64_t tick, int64_t ticks_per_quarter);

/* Rounds a tick of the grid to the positions of its section, halves to even positions; a tick after
 * the last position to the next section. */
int64_t remi_rounded(const Grid *grid, int64_t tick, int64_t near);

/* Bar and position of a tick of a section. */
static inline int64_t remi_bar(const Section *section, int64_t tick) {
    return section->first_bar + (tick - section->start) / section->bar_ticks;
}

static inline int64_t remi_position(const Section *section, int64_t tick) {
    return (tick - section->start) % section->bar_ticks / section->step_ticks;
}

static inline bool remi_is_in_range(const Grid *grid, int64_t tick) {
    return remi_bar(&grid->sections[remi_section(grid, tick, 0)], tick) < MAX_BAR_LINES;
}

#endif
