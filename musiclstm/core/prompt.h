/* Bar lines and statistics of a prompt; only for the prompt*.c files. */
#ifndef MUSICLSTM_PROMPT_H
#define MUSICLSTM_PROMPT_H

#include "remi.h"

/* Half of the longest position of the tokens, in ticks, and at least 1. */
static inline int64_t meter_slack(int64_t ticks_per_quarter) {
    return remi_most(1, ticks_per_quarter / 24);
}

/* Walks over the bar lines of a score, as bar_starts in midi/analysis.py. */
typedef struct {
    const ScoreMeter *changes; /* the first at tick 0 */
    int64_t ticks_per_quarter, count, at, bar; /* at: change; bar: since then */
    int64_t line;
} BarLines;

static inline int64_t next_line(const BarLines *lines) {
    const ScoreMeter *change = &lines->changes[lines->at];
    int64_t length = 4 * lines->ticks_per_quarter * change->numerator;
    if (length < change->denominator) length = change->denominator;
    int64_t line = change->tick + (lines->bar + 1) * length / change->denominator;
    if (lines->at + 1 == lines->count) return line;
    const int64_t latest = change[1].tick - meter_slack(lines->ticks_per_quarter);
    return line > latest ? change[1].tick : line;
}

static inline void move_to_next_line(BarLines *lines) {
    lines->line = next_line(lines);
    lines->bar++;
    if (lines->at + 1 < lines->count && lines->line == lines->changes[lines->at + 1].tick)
        lines->at++, lines->bar = 0;
}

/* Index of a program in arrays over programs. */
static inline int32_t index_of(int32_t program) {
    return program == DRUMS ? PROGRAMS - 1 : program;
}

/* Writes tracks, median pitches, velocities and the most notes at once of a prompt whose parts are
 * known. score: all notes; lines: at its start; items, other: for all notes; memory: scratch. */
void prompt_describe(Prompt *prompt, const Score *score, BarLines lines, SortItem *items,
                     SortItem *other, char *memory);

#endif
