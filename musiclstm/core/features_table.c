/* Token tables, built from checked input. */
#include "features_state.h"

static int32_t check_token(int32_t kind, int32_t value, int32_t unit) {
    switch (kind) {
    case PITCH:
    case DRUM: return within(value, 0, PITCHES - 1) ? FEATURES_OK : FEATURES_BAD_PITCH;
    case POSITION: return within(value, 0, POSITIONS - 1) ? FEATURES_OK : FEATURES_BAD_POSITION;
    case PROGRAM: return within(value, DRUMS, PROGRAMS - 2) ? FEATURES_OK : FEATURES_BAD_PROGRAM;
    case DURATION: return within(value, 1, MAX_METER) ? FEATURES_OK : FEATURES_BAD_DURATION;
    case TIME_SIGNATURE:
        return within(value, 1, MAX_METER) && within(unit, 1, 16) ? FEATURES_OK
                                                                  : FEATURES_BAD_METER;
    default: return within(kind, OTHER, TEMPO) ? FEATURES_OK : FEATURES_BAD_KIND;
    }
}

static void fill(int16_t *values, int32_t count, int16_t value) {
    for (int32_t i = 0; i < count; i++) values[i] = value;
}

int64_t features_table_bytes(void) { return sizeof(FeatureTable); }

int32_t features_make_table(FeatureTable *table, int32_t size, const int32_t *kind,
                            const int32_t *value, const int32_t *unit) {
    if (size < 1 || size > MAX_VOCAB) return FEATURES_BAD_SIZE;
    memset(table, 0, sizeof *table);
    table->size = size, table->bar = NONE;
    fill(table->pitch_ids, PITCHES, OUT_OF_RANGE), fill(table->drum_ids, PITCHES, OUT_OF_RANGE);
    fill(table->position_ids, POSITIONS, NONE), fill(table->program_ids, PROGRAMS, NONE);
    for (int32_t i = 0; i < size; i++) {
        int32_t error = check_token(kind[i], value[i], unit[i]);
        if (error) return error;
        table->kind[i] = (uint8_t)kind[i];
        table->value[i] = kind[i] == OTHER ? 0 : (int16_t)value[i];
        table->unit[i] = kind[i] == TIME_SIGNATURE ? (uint8_t)unit[i] : 0;
        if (kind[i] == BAR && table->bar == NONE) table->bar = i;
        if (kind[i] == PITCH) table->pitch_ids[value[i]] = (int16_t)i;
        if (kind[i] == DRUM) table->drum_ids[value[i]] = (int16_t)i;
        if (kind[i] == POSITION) table->position_ids[value[i]] = (int16_t)i;
        if (kind[i] == PROGRAM) table->program_ids[value[i] - DRUMS] = (int16_t)i;
    }
    return FEATURES_OK;
}
