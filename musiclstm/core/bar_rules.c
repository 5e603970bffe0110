/* Rules of a bar by programs, meter and pitch classes: a part of generation/decoding/bar_rules.py. */
#include "token_table.h"

enum { ALL_CLASSES = (1 << CLASSES) - 1, MOST_AT_ONCE = 32 };

static void permit(BarRules *rules, int32_t program, int32_t pitch) {
    rules->pitches[program][pitch / 64] |= (uint64_t)1 << pitch % 64;
}

int32_t bar_rules_fill(BarRules *rules, const TokenTable *table, const uint8_t *programs,
                       int32_t meter, int32_t classes) {
    const int32_t first = table->first[TIME_SIGNATURE], meters = table->count[TIME_SIGNATURE];
    if (!meters || meters > 64 || !within(classes, 0, ALL_CLASSES)) return CORE_BAD_RULES;
    if (meter != NONE && !within(meter, first, first + meters - 1)) return CORE_BAD_METER;
    memset(rules, 0, sizeof *rules);
    rules->max_at_once = MOST_AT_ONCE;
    rules->most = NO_LIMIT;
    rules->max_empty_bars = 1;
    rules->keep_lines = 1;
    rules->meters = meter == NONE ? UINT64_MAX >> (64 - meters) : (uint64_t)1 << (meter - first);
    for (int32_t program = 0; program < PROGRAMS; program++) {
        const bool is_drums = program == PROGRAMS - 1;
        for (int32_t pitch = 0; pitch < PITCHES; pitch++) {
            bool is_in_key = is_drums || !classes || classes >> pitch % CLASSES & 1;
            bool may_play = !programs || programs[program];
            if (may_play && is_in_key && pitch_id(table, pitch, is_drums) >= 0)
                permit(rules, program, pitch);
        }
    }
    return CORE_OK;
}
