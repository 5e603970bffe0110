/* Reads the chunks and events of a MIDI file. A damaged track is read as far as it goes. */
#include "midi_file.h"

enum {
    MAX_HEADER_OFFSET = 1024, /* some files have bytes before the header, such as MacBinary's 128 */
    HEADER_BYTES = 14,
    CHUNK_BYTES = 8,
    LAST_TEXT = 0x07,
};

typedef struct {
    const uint8_t *data;
    int64_t size;
    MidiFile *file;
    Event *events; /* NULL: count only */
    int64_t at, end, tick;
    uint8_t ports[CHANNELS_PER_PORT]; /* numbers of the ports seen so far */
    int32_t port_count, port;         /* index of the present port */
    bool failed, has_reset;
} Reader;

/* Bytes ---------------------------------------------------------------------------------------- */

static uint32_t big_endian(const uint8_t *at, int bytes) {
    uint32_t value = 0;
    while (bytes--) value = value << 8 | *at++;
    return value;
}

static uint8_t next_byte(Reader *r) {
    if (r->at < r->end) return r->data[r->at++];
    r->failed = true;
    return 0;
}

/* Reads a quantity of variable length. Of more than four bytes, all others must be 0. */
static uint32_t quantity(Reader *r) {
    uint32_t value = 0;
    for (;;) {
        const uint8_t byte = next_byte(r);
        if (r->failed || value >> 21) return r->failed = true, 0;
        value = value << 7 | (byte & 0x7F);
        if (byte < 0x80) return value;
    }
}

static bool is_name(const Reader *r, int64_t at, const char *name) {
    if (at < 0 || at + 4 > r->size) return false;
    for (int i = 0; i < 4; i++) {
        uint8_t byte = r->data[at + i];
        if (name ? byte != (uint8_t)name[i] : byte < 0x20 || byte > 0x7E) return false;
    }
    return true;
}

static int64_t find(const Reader *r, int64_t from, int64_t to, const char *name) {
    for (int64_t at = from; at < to; at++)
        if (is_name(r, at, name)) return at;
    return NONE;
}

/* Events --------------------------------------------------------------------------------------- */

static void add_event(Reader *r, int32_t channel, int32_t status, int32_t first, int32_t second) {
    MidiFile *file = r->file;
    if (r->events)
        r->events[file->event_count] = (Event){
            .tick = (int32_t)r->tick, .track = (uint16_t)file->tracks,
            .channel = (uint8_t)(r->port * CHANNELS_PER_PORT + channel),
            .status = (uint8_t)status, .first = (uint8_t)first, .second = (uint8_t)second,
        };
    file->event_count++;
    if (status == NOTE_ON_EVENT) file->note_count++;
    if (status == CONTROL_CHANGE || status == PITCH_BEND) file->control_count++;
    if (status == SYSTEM_RESET || (status == CONTROL_CHANGE && first == RESET_CONTROLLERS))
        r->has_reset = true;
}

static int32_t data_byte(Reader *r, uint8_t byte) {
    if (byte < 0x80) return byte;
    const uint8_t *next = r->data + r->at;
    const bool is_end = byte == 0xFF && r->end - r->at >= 2 && next[0] == END_OF_TRACK && !next[1];
    if (is_end) r->failed = true; /* data bytes are missing */
    else r->file->out_of_range++;
    return 127;
}

static void read_message(Reader *r, uint8_t status, bool is_running, uint8_t byte) {
    const int32_t kind = status & 0xF0;
    const bool is_short = kind == PROGRAM_CHANGE || kind == CHANNEL_PRESSURE;
    const int32_t first = data_byte(r, is_running ? byte : next_byte(r));
    const int32_t second = is_short ? 0 : data_byte(r, next_byte(r));
    if (r->failed) return;
    if (kind == KEY_PRESSURE || kind == CHANNEL_PRESSURE) {
        r->file->pressures++;
        return;
    }
    const bool is_off = kind == NOTE_ON_EVENT && !second;
    add_event(r, status & 0x0F, is_off ? NOTE_OFF_EVENT : kind, first, second);
}

static void choose_port(Reader *r, uint8_t number) {
    r->port = 0;
    while (r->port < r->port_count && r->ports[r->port] != number) r->port++;
    if (r->port == CHANNELS_PER_PORT) r->port = number % CHANNELS_PER_PORT; /* too many */
    else if (r->port == r->port_count) r->ports[r->port_count++] = number;
}

static void add_text(Reader *r, uint8_t type, int32_t length) {
    MidiFile *file = r->file;
    if (r->events)
        file->texts[file->text_count] = (MidiText){
            .tick = (int32_t)r->tick, .track = file->tracks, .type = type,
            .offset = (int32_t)r->at, .length = length,
        };
    file->text_count++;
}

/* Reads a meta event; returns whether the track goes on. */
static bool read_meta(Reader *r) {
    MidiFile *file = r->file;
    const int32_t tick = (int32_t)r->tick;
    const uint8_t type = next_byte(r);
    const int64_t length = quantity(r);
    const uint8_t *bytes = r->data + r->at;
    if (r->failed || length > r->end - r->at) return !(r->failed = true);
    if (type == SET_TEMPO && length == 3 && file->division > 0) {
        if (r->events) file->tempos[file->tempo_count] = (ScoreTempo){tick, (int32_t)big_endian(bytes, 3)};
        file->tempo_count++;
    } else if (type == TIME_SIGNATURE_EVENT && length >= 2) {
        int32_t below = bytes[1] < 8 ? 1 << bytes[1] : 0;
        if (r->events) file->meters[file->meter_count] = (ScoreMeter){tick, bytes[0], below};
        file->meter_count++;
    } else if (type == KEY_SIGNATURE && length == 2) {
        if (r->events) file->keys[file->key_count] = (MidiKey){tick, (int8_t)bytes[0], bytes[1]};
        file->key_count++;
    } else if (type >= 1 && type <= LAST_TEXT) {
        add_text(r, type, (int32_t)length);
    } else if (type == PORT && length == 1) {
        choose_port(r, bytes[0]);
    }
    r->at += length;
    return type != END_OF_TRACK;
}

/* Whether a message begins with these bytes; 0xFF: any byte. */
static bool is_message(const uint8_t *bytes, int64_t length, const char *start, int64_t count) {
    if (length < count) return false;
    for (int64_t i = 0; i < count; i++)
        if ((uint8_t)start[i] != 0xFF && bytes[i] != (uint8_t)start[i]) return false;
    return true;
}

/* Reads resets of GM, GS and XG, the master volume, and drum parts by messages of GS ("use for rhythm
 * part") and XG ("part mode"). */
static void read_system_exclusive(Reader *r, const uint8_t *bytes, int64_t length) {
    if (is_message(bytes, length, "\x7E\xFF\x09", 3)
        || is_message(bytes, length, "\x41\xFF\x42\x12\xFF\x00\x7F", 7)
        || is_message(bytes, length, "\x43\xFF\x4C\x00\x00\x7E", 6)) {
        add_event(r, 0, SYSTEM_RESET, 0, 0);
    } else if (is_message(bytes, length, "\x7F\xFF\x04\x01\xFF\xFF", 6)) {
        r->file->master_volumes += bytes[5] < 127;
    } else if (is_message(bytes, length, "\x41\xFF\x42\x12\x40\x00\x04\xFF", 8)) {
        r->file->master_volumes += bytes[7] < 127;
    } else if (is_message(bytes, length, "\x43\xFF\x4C\x00\x00\x04\xFF", 7)) {
        r->file->master_volumes += bytes[6] < 127;
    } else if (is_message(bytes, length, "\x41\xFF\x42\x12\x40\xFF\x15\xFF", 8) && bytes[5] >> 4 == 1) {
        const int32_t part = bytes[5] & 0x0F; /* 0: channel 10; 1 to 9; then channels 11 to 16 */
        const int32_t channel = part == 0 ? DRUM_CHANNEL : part <= DRUM_CHANNEL ? part - 1 : part;
        add_event(r, channel, DRUM_SWITCH, bytes[7] > 0, 0);
    } else if (is_message(bytes, length, "\x43\xFF\x4C\x08\xFF\x07\xFF", 7) && bytes[4] < CHANNELS_PER_PORT) {
        add_event(r, bytes[4], DRUM_SWITCH, bytes[6] > 0, 0);
    }
}

static void skip_system_message(Reader *r, uint8_t status) {
    if (status == 0xF0 || status == 0xF7) {
        const int64_t length = quantity(r);
        if (r->failed || length > r->end - r->at) {
            r->failed = true;
            return;
        }
        if (status == 0xF0) read_system_exclusive(r, r->data + r->at, length);
        r->at += length;
    } else if (status <= 0xF3) {
        for (int i = status == 0xF2 ? 2 : 1; i; i--) next_byte(r);
    }
}

/* Reads the events of a track from `at` to `end`; returns whether it has an end-of-track event. */
static bool read_events(Reader *r) {
    uint8_t running = 0;
    bool interrupted = false; /* running status, after an event that ends it */
    r->failed = false, r->port = 0;
    for (;;) {
        const int64_t before = r->tick;
        r->tick += quantity(r);
        const uint8_t byte = next_byte(r), status = byte < 0x80 ? running : byte;
        if (!status || r->tick > MAX_TICK) r->failed = true;
        if (r->failed) {
            /* damaged before the event */
        } else if (status == 0xFF) {
            if (!read_meta(r) && !r->failed) return true;
        } else if (status >= 0xF0) {
            skip_system_message(r, status);
        } else {
            r->file->running_after_system += interrupted && byte < 0x80;
            read_message(r, status, byte < 0x80, byte);
            running = status;
        }
        interrupted = running && status >= 0xF0;
        if (r->failed) {
            r->tick = before;
            return false;
        }
    }
}

/* Chunks --------------------------------------------------------------------------------------- */

/* Returns where a chunk ends; `damaged`: whether that differs from its declared length. */
static int64_t chunk_end(const Reader *r, int64_t start, bool *damaged) {
    const int64_t declared = start + CHUNK_BYTES + big_endian(r->data + start + 4, 4);
    *damaged = false;
    if (declared == r->size || is_name(r, declared, NULL)) return declared;
    const int64_t following = find(r, start + 1, r->size, "MTrk");
    *damaged = true;
    if (following > 0) return following;
    const uint8_t *end = r->data + declared - 3;
    if (declared < r->size && end[0] == 0xFF && end[1] == END_OF_TRACK && !end[2])
        *damaged = false; /* a complete track, then bytes that are not a chunk */
    return r->size;
}

static void report_length(Reader *r, int64_t start, int64_t stop, bool complete) {
    const int64_t declared = start + CHUNK_BYTES + big_endian(r->data + start + 4, 4);
    if (complete) r->file->wrong_lengths++;
    else if (stop == r->size && r->size < declared)
        r->file->break_after = (int32_t)r->size, r->file->break_of = (int32_t)remi_least(declared, INT32_MAX);
    else r->file->damaged_tracks++;
}

static void read_track(Reader *r, int64_t start, int64_t stop, bool wrong_length, int32_t *links) {
    MidiFile *file = r->file;
    const int64_t first = file->event_count, bar = 4 * (int64_t)file->ticks_per_quarter;
    if (file->format != 2) r->tick = 0; /* patterns of format 2 follow each other */
    r->at = start + CHUNK_BYTES, r->end = stop;
    const bool complete = read_events(r);
    if (wrong_length) report_length(r, start, stop, complete);
    else if (!complete) file->damaged_tracks += r->at < r->end || r->failed;
    if (r->events)
        midi_pair_notes(file, r->events + first, file->event_count - first, (int32_t)r->tick, links);
    if (file->format == 2) r->tick = (r->tick + bar - 1) / bar * bar;
    file->tracks++;
}

/* Sets the resolution. In SMPTE time, tempo events do not apply; returns false for a wrong one. */
static bool set_division(MidiFile *file, int32_t division) {
    file->division = division, file->ticks_per_quarter = division;
    if (division > 0) return true;
    const int32_t rate = -(division >> 8), subframes = division & 0xFF;
    if ((rate != 24 && rate != 25 && rate != 29 && rate != 30) || !subframes) return false;
    const double frames = (rate == 29 ? 30000 / 1001.0 : rate) * subframes;
    const int32_t ticks = (int32_t)(frames / 2 + 0.5);
    file->ticks_per_quarter = ticks > 1 ? ticks : 1; /* at 120 quarter notes per minute */
    file->tempo_count = 1;
    if (file->tempos)
        file->tempos[0] = (ScoreTempo){0, (int32_t)(1e6 * file->ticks_per_quarter / frames + 0.5)};
    return true;
}

int32_t midi_read_chunks(const uint8_t *data, int64_t size, MidiFile *file, Event *events,
                         int32_t *links) {
    Reader r = {.data = data, .size = size, .file = file, .events = events, .port_count = 1};
    const int64_t header = find(&r, 0, remi_least(size, MAX_HEADER_OFFSET), "MThd");
    if (header < 0 || header + HEADER_BYTES > size) return CORE_NOT_MIDI;
    const uint8_t *at = data + header;
    file->leading_bytes = (int32_t)header;
    file->format = (int32_t)big_endian(at + 8, 2);
    file->declared_tracks = (int32_t)big_endian(at + 10, 2);
    if (!set_division(file, (int16_t)big_endian(at + 12, 2))) return CORE_BAD_DIVISION;
    int64_t start = header + CHUNK_BYTES + big_endian(at + 4, 4);
    if (!is_name(&r, start, NULL)) start = header + HEADER_BYTES;
    while (start + CHUNK_BYTES <= size && file->tracks <= MAX_MIDI_TRACKS) {
        bool wrong_length;
        const int64_t stop = chunk_end(&r, start, &wrong_length);
        if (is_name(&r, start, "MTrk")) read_track(&r, start, stop, wrong_length, links);
        else file->unknown_chunks++;
        start = stop;
    }
    if (r.has_reset) file->control_count *= 3; /* a reset sets each controller at most twice */
    return CORE_OK;
}
