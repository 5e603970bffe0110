/* Fifty steps of an invented network, and one number that stands for every bit of every score.
 * The number must be the same on every processor; see test_kernel.py. */
#include "kernel.c"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LAYERS = 3, SIZE = 45, VOCAB = 36, ROWS = 2, STEPS = 50 };

static uint32_t state = 12345;

static int next(int below) {
    state = state * 1664525u + 1013904223u;
    return (int)((state >> 8) % (uint32_t)below);
}

static float *floats(int count, float middle, float spread) {
    float *found = malloc(sizeof(float) * (size_t)count);
    for (int i = 0; i < count; i++) found[i] = middle + spread * (float)(next(2001) - 1000) / 1000;
    return found;
}

static int8_t *bytes(int count) {
    int8_t *found = malloc((size_t)count);
    for (int i = 0; i < count; i++) found[i] = (int8_t)(next(255) - 127);
    return found;
}

int main(void) {
    const int blocks = whole_blocks(SIZE), units = whole_fours(SIZE);
    const Network net = {LAYERS, SIZE, VOCAB, 1, 1, 1e-5f,
                         bytes(LAYERS * units * 4 * 2 * blocks * COLUMNS),
                         floats(LAYERS * 8 * units, 0.002f, 0.001f),
                         floats(LAYERS * 4 * units, 0, 1),
                         floats((LAYERS + 1) * 2 * SIZE, 0, 1),
                         floats(VOCAB * SIZE, 0, 1),
                         bytes(VOCAB * blocks * COLUMNS),
                         floats(VOCAB, 0.01f, 0)};
    char *desk = calloc(1, (size_t)desk_bytes(&net, ROWS));
    float *hidden = calloc(LAYERS * ROWS * SIZE, sizeof(float));
    float *cell = calloc(LAYERS * ROWS * SIZE, sizeof(float));
    float out[ROWS * SIZE], scores[ROWS * VOCAB];
    uint32_t digest = 2166136261u; /* Fowler, Noll and Vo */
    for (int step = 0; step < STEPS; step++) {
        const int64_t ids[ROWS] = {step % VOCAB, 7 * step % VOCAB};
        run_stack(&net, ROWS, ids, hidden, cell, out, desk);
        run_head(&net, ROWS, out, scores, desk);
        for (int i = 0; i < ROWS * VOCAB; i++) {
            uint32_t bits;
            memcpy(&bits, scores + i, sizeof bits);
            digest = (digest ^ bits) * 16777619u;
        }
    }
    printf("%08x\n", digest);
    return self_check();
}
