# An independent parser of delivery reports: reads a JSON list of messages on standard
# input and prints what Python's email package makes of each.
import email
import json
import sys
from email import policy

out = []
for raw in json.load(sys.stdin):
    m = email.message_from_string(raw, policy=policy.default)
    parts = list(m.iter_parts())
    status = parts[1].get_payload()
    returned = parts[2].get_payload()
    if isinstance(returned, list):
        header = returned[0]
    else:
        header = email.message_from_string(returned, policy=policy.default)
    out.append({
        "defects": [str(d) for p in m.walk() for d in p.defects],
        "types": [m.get_content_type()] + [p.get_content_type() for p in parts],
        "report_type": m.get_param("report-type") or "",
        "auto": m["Auto-Submitted"] or "",
        "return_path": m["Return-Path"] or "",
        "to": m["To"] or "",
        "message": dict((k.lower(), v) for k, v in status[0].items()),
        "rcpts": [dict((k.lower(), v) for k, v in s.items()) for s in status[1:]],
        "returned": parts[2].as_string(),
        "subject": header["Subject"] or "",
    })
json.dump(out, sys.stdout)
