/* Events of MIDI files; only for the midi_*.c files. */
#ifndef MUSICLSTM_MIDI_FILE_H
#define MUSICLSTM_MIDI_FILE_H

#include "remi.h"

enum {
    NOTE_OFF_EVENT = 0x80,
    NOTE_ON_EVENT = 0x90,
    KEY_PRESSURE = 0xA0,
    CONTROL_CHANGE = 0xB0,
    PROGRAM_CHANGE = 0xC0,
    CHANNEL_PRESSURE = 0xD0,
    PITCH_BEND = 0xE0,
    DRUM_SWITCH = 0xF0, /* first: 1 makes a drum channel, 0 a melodic one */
    SYSTEM_RESET = 0xF1, /* of all channels of a port; the event has its first channel */
    BANK = 0,           /* controllers that select a bank; the second is its low part */
    BANK_LOW = 32,
    SUSTAIN = 64,
    RESET_CONTROLLERS = 121,
    DRUM_CHANNEL = 9,
    PORT = 0x21, /* types of meta events */
    END_OF_TRACK = 0x2F,
    SET_TEMPO = 0x51,
    TIME_SIGNATURE_EVENT = 0x58,
    KEY_SIGNATURE = 0x59,
    CHANNELS_PER_PORT = 16,
    KEYS = CHANNELS_PER_PORT * PITCHES,
    MAX_TICK = 0x0FFFFFFF, /* the longest time that one delta time can state */
    DROPPED = -1,          /* length of a note that is left out */
};

typedef struct {
    int32_t tick, length; /* length: of a note */
    uint16_t track;
    uint8_t channel; /* port * 16 + channel */
    uint8_t status, first, second;
    bool is_open; /* a note-on without a note-off in its track, or such a note-off */
} Event;

/* Sets the length of every note-on of one track, `count` events by time. links: scratch, (count). */
void midi_pair_notes(MidiFile *file, Event *events, int64_t count, int32_t end, int32_t *links);

/* Reads the chunks of a file. events: NULL to count only; else (event_count), in order of tracks. */
int32_t midi_read_chunks(const uint8_t *data, int64_t size, MidiFile *file, Event *events,
                         int32_t *links);

#endif
