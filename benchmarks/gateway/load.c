/* Given to this project together with its bars (load generator of its gateway benchmark); unchanged. */
/* HTTP/1.1 load client: one thread, epoll, keep-alive, JSON result on stdout.
 *   load -h HOST:PORT -p PATH -b BODYFILE [-H 'K: V']... -c CONNS -d SECONDS [-r RATE] [-n MAX]
 * No -r: closed loop. -r RATE: open loop at RATE/s, latency from the intended start.
 * Understands Content-Length and chunked answers; counts SSE events (blank lines in the body).
 * Times: head = last header byte, first = first body byte, total = end of body.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { IDLE, CONNECTING, SEND, HEAD, FIXED, CHSIZE, CHDATA, CHEND, UNTILCLOSE };
typedef struct { int fd, st, status, close_after; size_t off; double t0, th, tf; char h[16384]; size_t hl; size_t left; char cs[64]; int cl; int nl; int last_chunk; int used; long ev; } conn;
static char *req; static size_t reqlen; static struct sockaddr_in addr; static int ep;
static double *L[3]; static size_t nl_, cap;
static long done, non200, errs, reconn, events, bytes, short_; static long min_ev = -1, max_ev;
static long expect_ev = -1;
static double now(void) { struct timespec t; clock_gettime(CLOCK_MONOTONIC, &t); return t.tv_sec + t.tv_nsec * 1e-9; }
static int cmp(const void *a, const void *b) { double x = *(double *)a, y = *(double *)b; return x < y ? -1 : x > y; }
static void rec(double a, double b, double c) {
  if (nl_ == cap) { cap = cap ? cap * 2 : 65536; for (int i = 0; i < 3; i++) L[i] = realloc(L[i], cap * sizeof(double)); }
  L[0][nl_] = a; L[1][nl_] = b; L[2][nl_++] = c;
}
static double *idle_q; static conn **idle; static int n_idle;
static void want(conn *c, int out, int op) { struct epoll_event e = {EPOLLIN | (out ? EPOLLOUT : 0), {.ptr = c}}; epoll_ctl(ep, op, c->fd, &e); }
static void dial(conn *c) {
  int one = 1; c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
  setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  connect(c->fd, (void *)&addr, sizeof addr); c->used = 0; want(c, 1, EPOLL_CTL_ADD);
}
static void write_(conn *c) {
  while (c->off < reqlen) { ssize_t w = send(c->fd, req + c->off, reqlen - c->off, MSG_NOSIGNAL); if (w > 0) c->off += w; else { if (errno != EAGAIN && errno != EINPROGRESS && errno != ENOTCONN) { return; } want(c, 1, EPOLL_CTL_MOD); return; } }
  c->st = HEAD; want(c, 0, EPOLL_CTL_MOD);
}
static void start(conn *c, double t0) { c->t0 = t0; c->th = c->tf = 0; c->off = 0; c->hl = 0; c->st = SEND; c->ev = 0; c->nl = 0; c->cl = 0; c->last_chunk = 0; if (c->fd < 0) { dial(c); return; } write_(c); }
static void complete(conn *c, double t) {
  done++; if (c->status != 200) { if (!non200) { c->h[c->hl] = 0; fprintf(stderr, "first non-200: %.300s\n", c->h); } non200++; }
  if (expect_ev >= 0 && c->ev != expect_ev) short_++;
  if (min_ev < 0 || c->ev < min_ev) min_ev = c->ev;
  if (c->ev > max_ev) max_ev = c->ev;
  events += c->ev;
  rec(c->th - c->t0, (c->tf ? c->tf : t) - c->t0, t - c->t0);
  c->used++; c->st = IDLE;
  if (c->close_after) { close(c->fd); c->fd = -1; reconn++; }
  idle[n_idle++] = c;
}
static void body(conn *c, const char *p, size_t n, double t) {
  if (n && !c->tf) c->tf = t;
  bytes += n;
  for (size_t i = 0; i < n; i++) { char ch = p[i]; if (ch == '\n') { if (c->nl) { c->ev++; c->nl = 0; } else c->nl = 1; } else if (ch != '\r') c->nl = 0; }
}
static void feed(conn *c, char *p, size_t n, double t) {
  while (n) {
    if (c->st == HEAD) {
      size_t room = sizeof c->h - 1 - c->hl, k = n < room ? n : room, old = c->hl;
      memcpy(c->h + old, p, k); c->hl += k; c->h[c->hl] = 0;
      char *e = memmem(c->h, c->hl, "\r\n\r\n", 4); if (!e) { if (c->hl == sizeof c->h - 1) { errs++; return; } return; }
      size_t hend = e + 4 - c->h, eat = hend - old; p += eat; n -= eat; c->h[hend - 2] = 0; c->hl = hend - 2; c->th = t;
      c->status = atoi(c->h + 9);
      if (c->status == 100) { c->hl = 0; continue; }
      char *te = strcasestr(c->h, "\ntransfer-encoding: chunked"), *cl = strcasestr(c->h, "\ncontent-length:"), *cn = strcasestr(c->h, "\nconnection: close");
      c->close_after = cn != 0 || !strncmp(c->h, "HTTP/1.0", 8);
      if (te) { c->st = CHSIZE; c->cl = 0; }
      else if (cl) { c->left = strtoul(cl + 16, 0, 10); c->st = FIXED; if (!c->left) { complete(c, t); return; } }
      else { c->st = UNTILCLOSE; c->close_after = 1; }
    } else if (c->st == FIXED) {
      size_t k = n < c->left ? n : c->left; body(c, p, k, t); c->left -= k; p += k; n -= k; if (!c->left) { complete(c, t); return; }
    } else if (c->st == CHSIZE) {
      char ch = *p++; n--; if (c->cl < 60) c->cs[c->cl++] = ch;
      if (ch == '\n') { c->cs[c->cl] = 0; c->left = strtoul(c->cs, 0, 16); c->cl = 0; if (c->left) c->st = CHDATA; else { c->st = CHEND; c->left = 2; c->last_chunk = 1; } }
    } else if (c->st == CHDATA) {
      size_t k = n < c->left ? n : c->left; body(c, p, k, t); c->left -= k; p += k; n -= k; if (!c->left) { c->st = CHEND; c->left = 2; }
    } else if (c->st == CHEND) {
      size_t k = n < c->left ? n : c->left; c->left -= k; p += k; n -= k; if (!c->left) { if (c->last_chunk) { complete(c, t); return; } c->st = CHSIZE; }
    } else if (c->st == UNTILCLOSE) { body(c, p, n, t); return; }
    else return;
  }
}
int main(int argc, char **argv) {
  signal(SIGPIPE, SIG_IGN);
  char *host = 0, *path = "/v1/messages", *bf = 0, hdr[8192] = ""; int conns = 1, o; double dur = 1, rate = 0; long maxn = 1L << 60;
  while ((o = getopt(argc, argv, "h:p:b:H:c:d:r:n:e:")) > 0) switch (o) {
    case 'h': host = optarg; break; case 'p': path = optarg; break; case 'b': bf = optarg; break;
    case 'H': strcat(hdr, optarg); strcat(hdr, "\r\n"); break;
    case 'c': conns = atoi(optarg); break; case 'd': dur = atof(optarg); break; case 'r': rate = atof(optarg); break; case 'n': maxn = atol(optarg); break; case 'e': expect_ev = atol(optarg); break; }
  FILE *f = fopen(bf, "rb"); fseek(f, 0, SEEK_END); size_t bl = ftell(f); rewind(f);
  char ip[64]; snprintf(ip, sizeof ip, "%s", host); char *col = strchr(ip, ':'); *col = 0;
  addr = (struct sockaddr_in){AF_INET, htons(atoi(col + 1)), {inet_addr(ip)}, {0}};
  req = malloc(bl + 16384); int k = snprintf(req, 16384, "POST %s HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\nAccept: */*\r\nUser-Agent: bench/1\r\n%sContent-Length: %zu\r\n\r\n", path, host, hdr, bl);
  if (fread(req + k, 1, bl, f) != bl) return 1;
  reqlen = k + bl;
  ep = epoll_create1(0); conn *cs = calloc(conns, sizeof *cs); idle = calloc(conns + 1, sizeof *idle);
  for (int i = conns - 1; i >= 0; i--) { cs[i].fd = -1; idle[n_idle++] = &cs[i]; }
  double T0 = now(), end = T0 + dur, grace = end + 15, next = T0; long started = 0, late = 0; struct epoll_event ev[256];
  static char buf[262144];
  for (;;) {
    double t = now(); int accepting = t < end && started < maxn;
    if (rate > 0) { while (accepting && next <= t && n_idle) { if (t - next > 0.002) late++; start(idle[--n_idle], next); next += 1 / rate; started++; if (started >= maxn || next >= end) accepting = 0; } if (next >= end) accepting = 0; }
    else while (accepting && n_idle) { start(idle[--n_idle], now()); if (++started >= maxn) accepting = 0; }
    if (!accepting && n_idle == conns) break;
    if (t > grace) break;
    double w = accepting && rate > 0 && n_idle ? next - t : (t < end ? end - t : grace - t); if (w < 0) w = 0; if (w > 0.5) w = 0.5;
    struct timespec ts = {(time_t)w, (long)((w - (time_t)w) * 1e9)};
    int n = epoll_pwait2(ep, ev, 256, &ts, 0);
    for (int i = 0; i < n; i++) {
      conn *c = ev[i].data.ptr; if (c->fd < 0) continue;
      if (c->st == SEND && (ev[i].events & EPOLLOUT)) write_(c);
      if (ev[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) {
        for (;;) {
          ssize_t r = recv(c->fd, buf, sizeof buf, 0);
          if (r > 0) { feed(c, buf, r, now()); if (c->fd < 0 || (size_t)r < sizeof buf) break; }
          else if (r < 0 && errno == EAGAIN) break;
          else {
            close(c->fd); c->fd = -1;
            if (c->st == UNTILCLOSE) { c->close_after = 0; complete(c, now()); reconn++; }
            else if (c->st == IDLE) reconn++;
            else if (c->used && c->st <= HEAD && c->hl == 0) { reconn++; start(c, c->t0); }
            else { errs++; c->st = IDLE; idle[n_idle++] = c; }
            break;
          }
        }
      }
    }
  }
  double el = now() - T0; double Tmeas = el < dur ? el : el; (void)Tmeas;
  printf("{\"done\":%ld,\"non200\":%ld,\"errors\":%ld,\"reconnects\":%ld,\"unfinished\":%d,\"late\":%ld,\"elapsed\":%.4f,\"rps\":%.2f,\"bytes\":%ld,\"events\":%ld,\"min_events\":%ld,\"max_events\":%ld,\"wrong_events\":%ld", done, non200, errs, reconn, conns - n_idle, late, el, done / el, bytes, events, min_ev, max_ev, short_);
  const char *nm[3] = {"head", "first", "total"};
  for (int i = 0; i < 3; i++) { if (nl_) qsort(L[i], nl_, sizeof(double), cmp);
    double q[5] = {.5, .9, .99, .999, 1}; const char *qn[5] = {"p50", "p90", "p99", "p999", "max"};
    printf(",\"%s_ms\":{", nm[i]); double s = 0; for (size_t j = 0; j < nl_; j++) s += L[i][j];
    printf("\"mean\":%.4f", nl_ ? s / nl_ * 1e3 : 0);
    for (int j = 0; j < 5; j++) { size_t x = nl_ ? (size_t)(q[j] * (nl_ - 1) + .5) : 0; printf(",\"%s\":%.4f", qn[j], nl_ ? L[i][x] * 1e3 : 0); } printf("}"); }
  printf("}\n"); return 0;
}
