/* WebSocket clients on one epoll: they open, say something first, and keep of their frames what the program wants.
 *
 * A program includes this file once, says what it is called (PROGRAM), and defines `wants` and `came`.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { OPENING = 1, UPGRADING, AWAITED, READY, GONE };
enum { KEPT = 4096, AT_ONCE = 200, PER_ADDRESS = 10000, TEXT = 1, BINARY = 2, PING = 9, PONG = 10 };
enum { FINE = 64, BUCKETS = 64 * FINE };

struct client {
    int fd;
    int state;
    char *first;      /* the texts to be sent, without the line's end */
    uint64_t left;    /* bytes of the frame's payload that have not come */
    unsigned char head[10];
    int have;         /* bytes of `head` */
    char *kept;       /* the payload so far, of a frame that is read: KEPT bytes at most */
    int keeping;
};

struct latencies {
    uint64_t slowest, counted[BUCKETS];
};

static struct client *clients;
static int total, ready, closed, opening, next_to_open, poller;
static uint64_t bytes, reads; /* received by open connections */
static char buffer[1 << 18];
static struct sockaddr_in server;
static const char *path, *answer; /* `answer`: what the frame holds that makes a connection ready; "": any frame does */

/* Whether the payload of the frame that begins is to be kept. */
static int wants(struct client *client);
/* A frame has come, text or binary, to a connection that is ready. */
static void came(struct client *client);

static void fail(const char *what) { fprintf(stderr, PROGRAM ": %s: %s\n", what, strerror(errno)); exit(1); }

static uint64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* Latencies ----------------------------------------------------------------------------------------------------------- */

/* Buckets of 1/FINE of a power of two, of microseconds. */
static void count(struct latencies *latencies, uint64_t us) {
    int at = (int)us;
    if (us >= FINE) {
        int power = 63 - __builtin_clzll(us), shift = power - __builtin_ctz(FINE);
        at = (shift + 1) * FINE + (int)((us >> shift) & (FINE - 1));
    }
    latencies->counted[at < BUCKETS ? at : BUCKETS - 1]++;
    if (us > latencies->slowest) latencies->slowest = us;
}

static uint64_t bucket_begin(int bucket) {
    if (bucket < FINE) return (uint64_t)bucket;
    return (uint64_t)(FINE + bucket % FINE) << (bucket / FINE - 1);
}

/* As [[microseconds, how many], ...]. */
static void print_latencies(const struct latencies *latencies) {
    int any = 0;
    printf("[");
    for (int i = 0; i < BUCKETS; i++)
        if (latencies->counted[i])
            printf("%s[%llu,%llu]", any++ ? "," : "", (unsigned long long)bucket_begin(i), (unsigned long long)latencies->counted[i]);
    printf("]");
}

/* When (nanoseconds) the kept frame says it was sent: "ns=" and 20 digits; 0 when it does not. */
static uint64_t marked(const struct client *client) {
    const char *mark = client->kept, *end = mark + client->keeping;
    do { /* XML is full of "xmlns=" */
        mark = memmem(mark, (size_t)(end - mark), "ns=", 3);
        if (!mark || end - mark < 23) return 0;
        mark += 3;
    } while (*mark < '0' || *mark > '9');
    char digits[21];
    memcpy(digits, mark, 20);
    digits[20] = 0;
    return strtoull(digits, NULL, 10);
}

/* Sending ------------------------------------------------------------------------------------------------------------- */

/* One frame, masked with zeroes: the payload stays as it is. Gives its size in `buffer`, from `at` on. */
static size_t frame(size_t at, int opcode, const char *payload, size_t size) {
    unsigned char head[8] = {(unsigned char)(0x80 | opcode), (unsigned char)(0x80 | size)};
    size_t length = 6;
    if (size > 125) {
        head[1] = 0x80 | 126;
        head[2] = (unsigned char)(size >> 8);
        head[3] = (unsigned char)size;
        length = 8;
    }
    if (size > 65535 || at + length + size > sizeof buffer) { errno = EMSGSIZE; fail("a frame"); }
    memcpy(buffer + at, head, length);
    memcpy(buffer + at + length, payload, size);
    return length + size;
}

static void say(struct client *client) {
    if (!*client->first || client->first[0] == '/') {
        client->state = READY;
        ready++;
        opening--;
        return;
    }
    size_t filled = 0;
    for (const char *text = client->first;; text++) {
        size_t size = strcspn(text, "\t");
        filled += frame(filled, TEXT, text, size);
        text += size;
        if (!*text) break;
    }
    if (write(client->fd, buffer, filled) != (ssize_t)filled) fail("first message");
    client->state = AWAITED;
}

/* Opening ------------------------------------------------------------------------------------------------------------- */

static void begin(struct client *client) {
    int at = (int)(client - clients), one = 1;
    client->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (client->fd < 0) fail("socket");
    /* Addresses of the loopback network in turn: each has ports of its own. */
    struct sockaddr_in own = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(0x7f000002u + (uint32_t)((at / PER_ADDRESS) * 16) + (uint32_t)getpid() % 16)};
    setsockopt(client->fd, IPPROTO_IP, 24 /* IP_BIND_ADDRESS_NO_PORT */, &one, sizeof one);
    if (bind(client->fd, (struct sockaddr *)&own, sizeof own)) fail("bind");
    setsockopt(client->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (connect(client->fd, (struct sockaddr *)&server, sizeof server) && errno != EINPROGRESS) fail("connect");
    client->state = OPENING;
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT, .data.ptr = client};
    if (epoll_ctl(poller, EPOLL_CTL_ADD, client->fd, &event)) fail("epoll_ctl");
    opening++;
}

static void request(struct client *client) {
    int error = 0;
    socklen_t length = sizeof error;
    getsockopt(client->fd, SOL_SOCKET, SO_ERROR, &error, &length);
    if (error) { errno = error; fail("connect"); }
    char text[512];
    int size = snprintf(text, sizeof text,
                        "GET %s HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
                        client->first[0] == '/' ? client->first : path);
    if (write(client->fd, text, (size_t)size) != size) fail("request");
    client->state = UPGRADING;
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = client};
    if (epoll_ctl(poller, EPOLL_CTL_MOD, client->fd, &event)) fail("epoll_ctl");
}

static void gone(struct client *client) {
    if (client->state < READY) {
        fprintf(stderr, PROGRAM ": connection %d ended before it was ready\n", (int)(client - clients));
        exit(1);
    }
    client->state = GONE;
    close(client->fd);
    closed++;
}

/* Receiving ----------------------------------------------------------------------------------------------------------- */

static void whole(struct client *client, int opcode) {
    if (opcode == PING) {
        size_t size = frame(0, PONG, client->kept, (size_t)client->keeping);
        if (write(client->fd, buffer, size) != (ssize_t)size) fail("pong");
    } else if (opcode == TEXT || opcode == BINARY) {
        if (client->state == READY) came(client);
        else if (!*answer || memmem(client->kept, (size_t)client->keeping, answer, strlen(answer))) {
            client->state = READY;
            ready++;
            opening--;
        }
    }
}

static void take(struct client *client, const char *data, size_t size) {
    while (size) {
        if (client->left) {
            size_t part = client->left < size ? (size_t)client->left : size;
            if ((client->head[0] & 15) == PING || (client->state == AWAITED ? *answer : wants(client))) {
                if (!client->kept && !(client->kept = malloc(KEPT))) fail("malloc");
                size_t room = (size_t)(KEPT - client->keeping), kept = part < room ? part : room;
                memcpy(client->kept + client->keeping, data, kept);
                client->keeping += (int)kept;
            }
            client->left -= part;
            data += part;
            size -= part;
        } else {
            client->head[client->have++] = (unsigned char)*data++;
            size--;
            if (client->have < 2) continue;
            int length = client->head[1] & 127, wanted = length == 126 ? 4 : length == 127 ? 10 : 2;
            if (client->have < wanted) continue;
            client->left = 0;
            if (wanted == 2) client->left = (uint64_t)length;
            else for (int i = 2; i < wanted; i++) client->left = client->left << 8 | client->head[i];
        }
        if (!client->left && client->have) {
            client->have = 0;
            whole(client, client->head[0] & 15);
            client->keeping = 0;
        }
    }
}

static void readable(struct client *client) {
    static char received[sizeof buffer];
    ssize_t size = recv(client->fd, received, sizeof received, 0);
    if (size <= 0) {
        if (size < 0 && (errno == EAGAIN || errno == EINTR)) return;
        gone(client);
        return;
    }
    if (client->state != UPGRADING) {
        bytes += (uint64_t)size;
        reads++;
        take(client, received, (size_t)size);
        return;
    }
    /* The answer comes in one piece from every server that is asked here. */
    char *end = memmem(received, (size_t)size, "\r\n\r\n", 4);
    if (!end || strncmp(received, "HTTP/1.1 101", 12)) {
        fprintf(stderr, PROGRAM ": no upgrade: %.*s\n", (int)(size < 200 ? size : 200), received);
        exit(1);
    }
    say(client);
    take(client, end + 4, (size_t)(received + size - end - 4));
}

/* ------------------------------------------------------------------------------------------------------------------- */

/* The lines of a file, each given to `each` with its number; the text is its own to keep. */
static void lines_of(const char *name, void (*each)(int, char *)) {
    FILE *file = fopen(name, "r");
    if (!file) fail(name);
    char *line = NULL;
    size_t room = 0;
    int number = 0;
    for (ssize_t size; (size = getline(&line, &room, file)) > 0;) {
        if (line[size - 1] == '\n') line[--size] = 0;
        each(number++, strdup(line));
    }
    free(line);
    fclose(file);
}

static void add_client(int number, char *first) {
    clients = realloc(clients, sizeof *clients * (size_t)(number + 1));
    if (!clients) fail("realloc");
    clients[number] = (struct client){.first = first};
    total = number + 1;
}

/* HOST PORT PATH FIRST_MESSAGES: a line of the file for each connection, what it says once it is open; nothing, when it
 * is empty. Tabs part it into frames, which are sent at once. A line that begins with a slash is a path of the
 * connection's own, and nothing is sent. */
static void set_up(char **arguments) {
    server = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(arguments[1]))};
    if (inet_pton(AF_INET, arguments[0], &server.sin_addr) != 1) fail("address");
    path = arguments[2];
    lines_of(arguments[3], add_client);
    poller = epoll_create1(0);
    if (poller < 0) fail("epoll_create1");
}

/* Polls a descriptor that is no client's; `turn` tells it by the address. */
static void watch(int fd, void *told) {
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = told};
    if (epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event)) fail("epoll_ctl");
}

/* What has come is taken, or waited for; `other` gets what `watch` was given. */
static void turn(void (*other)(void *)) {
    struct epoll_event events[512];
    while (next_to_open < total && opening < AT_ONCE) begin(&clients[next_to_open++]);
    int count = epoll_wait(poller, events, 512, 1000);
    for (int i = 0; i < count; i++) {
        struct client *client = events[i].data.ptr;
        if (client < clients || client >= clients + total) other(client);
        else if (client->state == OPENING) request(client);
        else if (client->state != GONE) readable(client);
    }
}
