#!/usr/bin/env python3
"""A transport agent in Python: it appends every message to one file per user.

Run by the scheduler with the spool as its working directory; see
agents/PROTOCOL.md. In scheduler.conf:

    match 'files/*' command='/usr/local/lib/agent.py /var/tmp/mail'
"""
import os
import re
import sys

UNESCAPE = {'\\\\': '\\', '\\t': '\t', '\\n': '\n', '\\r': '\r'}


def decode(field):
    return re.sub(r'\\(?:x[0-9a-f]{2}|.)',
                  lambda m: UNESCAPE.get(m[0]) or chr(int(m[0][2:], 16)), field)


def encode(field):
    return re.sub(r'[\x00-\x1f\x7f\\]', lambda m: '\\x%02x' % ord(m[0]), field)


def say(*fields):
    sys.stdout.write('\t'.join(encode(str(f)) for f in fields) + '\n')
    sys.stdout.flush()


class Control:
    """The control file of a message: its pending recipients and their header."""

    def __init__(self, message):
        self.rcpts, self.done, group = {}, {}, []
        with open('transport/%s/%s' % (message[-1], message), encoding='latin-1') as f:
            while line := f.readline():
                if not line.endswith('\n'):
                    break  # torn: not to be used
                letter, *v = [decode(field) for field in line[:-1].split('\t')]
                if letter == 'i':
                    self.size, self.body = int(v[1]), int(v[3])
                elif letter == 'r':
                    self.rcpts[int(v[0])] = r = {'channel': v[1], 'host': v[2], 'user': v[3]}
                    group.append(r)
                elif letter == 'm':
                    header = f.read(int(v[0]))
                    for r in group:
                        r['header'] = header
                    group = []
                elif letter in '+-x':
                    for n in v[0].split(','):
                        self.done[int(n)] = ({'+': 'ok', '-': 'error', 'x': 'expanded'}[letter], v[3], v[4], v[5], v[6])


def deliver(target, message, channel, host, n, control):
    if n in control.done:
        return control.done[n]
    r = control.rcpts.get(n)
    if r is None or (r['channel'], r['host'].lower()) != (channel, host.lower()):
        return 'deferred', '4.3.0', '', 'l', 'no such recipient in this thread'
    with open('queue/%s/%s' % (message[-1], message), 'rb') as f:
        if os.fstat(f.fileno()).st_size != control.size:
            return 'deferred', '4.3.0', '', 'l', 'message file has the wrong size'
        f.seek(control.body)
        body = f.read()
    if '/' in r['user'] or r['user'].startswith('.'):
        return 'error', '5.1.3', '', 'l', 'not a name of a file'
    with open(os.path.join(target, r['user']), 'ab') as out:
        out.write(r['header'].encode('latin-1') + body + b'\n')
        out.flush()
        os.fsync(out.fileno())
    return 'ok', '2.0.0', '', 'l', 'appended to ' + r['user']


def main(target):
    say('#hungry 1')
    for line in sys.stdin:
        if not line.endswith('\n'):
            break  # the scheduler died within the line
        word, number, message, channel, host, rcpts = [decode(f) for f in line[:-1].split('\t')]
        for n in map(int, rcpts.split(',')):
            try:
                result = deliver(target, message, channel, host, n, Control(message))
            except OSError as e:
                result = 'deferred', '4.3.0', '', 'l', str(e)
            say('result', number, n, *result)
        say('#hungry')


main(sys.argv[1])
