/* Token ids to a score: the compiled form of tokens/decoding.py. */
#include "remi.h"

enum { VELOCITY = 64, PIANO = 0 };

typedef struct {
    const TokenTable *table;
    Score *score;
    int32_t *numbers;
    int64_t line, place; /* tick of the bar line, and of the last position after it */
    int32_t meter;       /* TimeSig */
    int32_t part;        /* NONE before the first Program */
    bool has_head;       /* a Bar or a Position was read */
    uint8_t blocks[PROGRAMS];            /* of the bar */
    int16_t parts[PROGRAMS][MAX_TRACKS]; /* part of each track, NONE without one */
} Decoder;

static bool is_pitch(int32_t kind) { return kind == PITCH || kind == DRUM; }

/* Returns the kind of any number; OTHER for a number that is not an id. */
static int32_t kind_of(const TokenTable *table, int32_t id) {
    return within(id, 0, table->size - 1) ? table->kind[id] : OTHER;
}

/* Returns the meter at tick 0: the first TimeSig before any pitch or duration. */
static int32_t first_meter(const TokenTable *table, const int32_t *ids, int64_t count) {
    for (int64_t i = 0; i < count; i++) {
        int32_t kind = kind_of(table, ids[i]);
        if (kind == TIME_SIGNATURE) return ids[i];
        if (is_pitch(kind) || kind == DURATION) break;
    }
    return remi_time_signature(table, 4, 4);
}

static int32_t now(const Decoder *d) { return (int32_t)(d->line + d->place); }

static void select_part(Decoder *d, int32_t program, int32_t number) {
    int16_t *part = &d->parts[program - DRUMS][number];
    if (*part == NONE) {
        *part = (int16_t)d->score->tracks++;
        d->score->programs[*part] = program, d->numbers[*part] = number;
    }
    d->part = *part;
}

/* The k-th block of a program in a bar is its k-th track; from the eighth on they are one. */
static void open_block(Decoder *d, int32_t program) {
    uint8_t *block = &d->blocks[program - DRUMS];
    select_part(d, program, program == DRUMS ? 0 : *block);
    if (*block < MAX_TRACKS - 1) ++*block;
}

static void add_meter(Decoder *d, int32_t token) {
    d->score->meters[d->score->meter_count++] = (ScoreMeter){
        now(d), remi_numerator(d->table, token), remi_denominator(d->table, token)};
    d->meter = token;
}

static void add_tempo(Decoder *d, int32_t token) {
    int32_t bpm = remi_tempos[token - d->table->first[TEMPO]]; /* in hundredths */
    int64_t mspq = (6000000000 + bpm / 2) / bpm;
    d->score->tempos[d->score->tempo_count++] = (ScoreTempo){now(d), (int32_t)mspq};
}

static void add_note(Decoder *d, int32_t pitch, int32_t duration) {
    if (d->part == NONE) select_part(d, PIANO, 0); /* notes before any Program */
    int32_t ticks = d->table->value[duration] * d->table->unit[d->meter];
    d->score->notes[d->score->note_count++] =
        (ScoreNote){now(d), ticks, d->table->value[pitch], VELOCITY, d->part};
}

/* Reads a token that is not a pitch or a duration. */
static void read_token(Decoder *d, int32_t token, int32_t kind) {
    const TokenTable *table = d->table;
    switch (kind) {
    case BAR:
        if (d->has_head) d->line += table->value[d->meter];
        d->place = 0, d->has_head = true;
        memset(d->blocks, 0, sizeof d->blocks);
        break;
    case POSITION:
        d->place = (int64_t)table->value[token] * table->unit[d->meter], d->has_head = true;
        break;
    case TIME_SIGNATURE:
        if (token != d->meter) add_meter(d, token);
        break;
    case TEMPO: add_tempo(d, token); break;
    case PROGRAM: open_block(d, table->value[token]); break;
    }
}

int32_t remi_decode(const TokenTable *table, const int32_t *ids, int64_t count, Score *score,
                    int32_t *numbers) {
    int32_t error = remi_check_table(table), pitch = NONE;
    if (error) return error;
    if (count < 0 || count >= MAX_SCORE_EVENTS) return CORE_BAD_LENGTH;
    Decoder d = {.table = table, .score = score, .numbers = numbers, .part = NONE};
    memset(d.parts, 0xff, sizeof d.parts); /* NONE */
    score->ticks_per_quarter = 48;
    score->tracks = score->note_count = score->tempo_count = score->meter_count = 0;
    add_meter(&d, first_meter(table, ids, count));
    for (int64_t i = 0; i < count; i++) {
        int32_t kind = kind_of(table, ids[i]);
        if (kind == OTHER) continue;
        if (kind == DURATION && pitch != NONE) add_note(&d, pitch, ids[i]);
        else read_token(&d, ids[i], kind);
        pitch = is_pitch(kind) ? ids[i] : NONE;
        if (d.line > INT32_MAX - MAX_METER) return CORE_BAD_TICK;
    }
    return CORE_OK;
}

int64_t remi_length_ticks(const TokenTable *table, const int32_t *ids, int64_t count) {
    int64_t ticks = 0;
    for (int64_t i = 0; i < count; i++)
        if (kind_of(table, ids[i]) == TIME_SIGNATURE) ticks += table->value[ids[i]];
    return ticks;
}
