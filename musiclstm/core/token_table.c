/* Token tables, built from checked input. */
#include "token_table.h"

static int32_t check_token(int32_t kind, int32_t value, int32_t unit) {
    switch (kind) {
    case PITCH:
    case DRUM: return within(value, 0, PITCHES - 1) ? CORE_OK : CORE_BAD_PITCH;
    case POSITION: return within(value, 0, POSITIONS - 1) ? CORE_OK : CORE_BAD_POSITION;
    case PROGRAM: return within(value, DRUMS, PROGRAMS - 2) ? CORE_OK : CORE_BAD_PROGRAM;
    case DURATION: return within(value, 1, MAX_METER) ? CORE_OK : CORE_BAD_DURATION;
    case TIME_SIGNATURE:
        return within(value, 1, MAX_METER) && within(unit, 1, 16) ? CORE_OK
                                                                  : CORE_BAD_METER;
    default: return within(kind, OTHER, TEMPO) ? CORE_OK : CORE_BAD_KIND;
    }
}

static void fill(int16_t *values, int32_t count, int16_t value) {
    for (int32_t i = 0; i < count; i++) values[i] = value;
}

int64_t token_table_bytes(void) { return sizeof(TokenTable); }

int32_t token_table_fill(TokenTable *table, int32_t size, const int32_t *kind,
                            const int32_t *value, const int32_t *unit, int32_t eos) {
    if (size < 1 || size > MAX_VOCAB) return CORE_BAD_SIZE;
    memset(table, 0, sizeof *table);
    table->size = size, table->bar = NONE;
    table->eos = within(eos, 0, size - 1) ? eos : NONE;
    for (int32_t i = 0; i < KINDS; i++) table->first[i] = NONE;
    fill(table->pitch_ids, PITCHES, OUT_OF_RANGE), fill(table->drum_ids, PITCHES, OUT_OF_RANGE);
    fill(table->position_ids, POSITIONS, NONE), fill(table->program_ids, PROGRAMS, NONE);
    for (int32_t i = 0; i < size; i++) {
        int32_t error = check_token(kind[i], value[i], unit[i]);
        if (error) return error;
        table->kind[i] = (uint8_t)kind[i];
        if (!table->count[kind[i]]++) table->first[kind[i]] = i;
        table->value[i] = kind[i] == OTHER ? 0 : (int16_t)value[i];
        table->unit[i] = kind[i] == TIME_SIGNATURE ? (uint8_t)unit[i] : 0;
        if (kind[i] == BAR && table->bar == NONE) table->bar = i;
        if (kind[i] == PITCH) table->pitch_ids[value[i]] = (int16_t)i;
        if (kind[i] == DRUM) table->drum_ids[value[i]] = (int16_t)i;
        if (kind[i] == POSITION) table->position_ids[value[i]] = (int16_t)i;
        if (kind[i] == PROGRAM) table->program_ids[value[i] - DRUMS] = (int16_t)i;
    }
    return CORE_OK;
}

int32_t check_ids(const TokenTable *table, const int32_t *ids, int64_t count) {
    if (count < 0) return CORE_BAD_LENGTH;
    for (int64_t i = 0; i < count; i++)
        if (!within(ids[i], 0, table->size - 1)) return CORE_BAD_TOKEN;
    return CORE_OK;
}
