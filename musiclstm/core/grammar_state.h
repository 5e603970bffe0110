/* State of the grammar; only for the files of this folder. */
#ifndef MUSICLSTM_GRAMMAR_STATE_H
#define MUSICLSTM_GRAMMAR_STATE_H

#include "token_table.h"

/* What a part of the prompt plays: notes, time with a note, and with several. */
typedef struct {
    int32_t notes, sounding, overlapping;
} LineStats;

/* Programs are 0 to 127, and DRUM_PROGRAM for drums. Positions and lengths are in units of the
 * time signature. */
struct GrammarState {
    BarRules rules;
    int32_t different_notes; /* pairs of program and pitch that the rules permit */
    int32_t shortest_bar;    /* of the permitted meters, in 1/48 quarter */

    uint8_t tracks[PROGRAMS]; /* of the prompt; 0 for programs that it does not have */
    int32_t other_tracks;     /* tracks that a program without tracks may have */
    bool drums_are_last;

    /* Notes that sound: their ends from the bar line, in 1/48 quarter; 0 without one. */
    int16_t note_ends[PROGRAMS][MAX_TRACKS][PITCHES];
    uint8_t has_note_ends[PROGRAMS]; /* a bit for each track */
    int32_t empty_bars;              /* in a row, before this one */
    bool in_bar;

    /* Lines: parts that play one note at a time for 98 % of their time in the last eight bars of the
     * prompt, with at least eight notes. Times in 1/48 quarter. */
    uint8_t is_line[PROGRAMS]; /* a bit for each track */
    int32_t part_ends[PROGRAMS][MAX_TRACKS]; /* of all notes so far, from the bar line */
    LineStats line_stats[PROGRAMS][MAX_TRACKS];

    /* This bar. */
    int32_t kind; /* of the last token, BETWEEN_BARS or ENDED */
    int32_t unit, length;
    int32_t notes_required, notes_started;
    int32_t outside_mode_at; /* position of the first pitched note outside the mode */
    bool has_pitched, must_be_off_beat;
    bool has_limits;                 /* whether the next two apply, see grammar_limit_parts */
    uint8_t kept[PROGRAMS], added[PROGRAMS];
    uint8_t required[PROGRAMS];      /* a bit for each track that must get a note */
    uint8_t blocks[PROGRAMS];        /* so far, at most MAX_TRACKS */
    uint8_t must_play[PROGRAMS];     /* blocks that must still get a note: required tracks, or one
                                        after an empty block */
    int32_t must_play_count;         /* of all programs */
    int32_t later_pitches;           /* of all blocks that may follow, summed up */
    int32_t onsets_left[POSITIONS];  /* by what starts together */
    int32_t voices_left[2 * POSITIONS];
    int32_t free_onsets[POSITIONS];  /* notes that may still start, by both */
    int32_t free_onsets_sum;

    /* The current block. */
    int32_t program, track, position, pitch; /* NONE without one */
    bool is_empty;
    int32_t pitch_without_duration;
};

#endif
