# What the policy says of a plan's shards: data to be followed, never decided here. Included by relay.pyx.
#
# A splice is placed by the words before it. A text is literals with gaps between them; two texts of one norm have the
# same words in the same gaps, so that when the bytes of a gap up to a splice are those in which its place was found,
# the place is the same one. What stands behind the last splice of a gap (a trace comment, say) may differ. A text
# that reads otherwise before a splice parks.

cdef void verdict_release(Core* c, Verdict* v) noexcept nogil:
    v.refs -= 1
    if v.refs:
        return
    if v.statement != NULL:
        statement_release(c, v.statement)
    witness_free(v.witness)
    free(v.cuts)
    free(v.bytes)
    free(v)


cdef void verdicts_release(Core* c, Plan* plan) noexcept nogil:
    cdef uint32_t i
    for i in range(plan.nverdicts):
        if plan.verdicts[i] != NULL:
            verdict_release(c, plan.verdicts[i])
    free(plan.verdicts)
    plan.verdicts = NULL
    plan.nverdicts = 0


cdef inline void take_verdict(Session* s, Verdict* v) noexcept nogil:
    v.refs += 1
    s.verdict = v


cdef inline void drop_verdict(Core* c, Session* s) noexcept nogil:
    cdef Verdict* v = s.verdict
    if v == NULL:
        return
    s.verdict = NULL
    if v.refs > 1:
        v.refs -= 1
    else:
        verdict_release(c, v)


cdef inline bint obey(Core* c, Session* s, Plan* plan, int32_t shard) noexcept nogil:
    """Take up what is decided about the shard. False when that was the command's answer, or it was parked."""
    cdef Verdict* v = plan.verdicts[shard] if 0 <= shard < <int32_t>plan.nverdicts else NULL
    if v == NULL or v.kind != VERDICT_PASSES:
        return obey_more(c, s, v)
    if v.witness != NULL:       # without one as if there were no policy
        take_verdict(s, v)
    return True


cdef bint obey_more(Core* c, Session* s, Verdict* v) noexcept nogil:
    if v == NULL:
        park(c, s, PARK_OTHER)
        return False
    if v.kind == VERDICT_REFUSED:
        refuse_here(c, s, v.bytes, v.size)
        return False
    if v.kind == VERDICT_SPLICED and splice(v, s.cmd + 1, s.cmd_len - 1, &c.lexed, NULL) == 0:
        park(c, s, PARK_OTHER)
        return False
    take_verdict(s, v)
    if v.kind == VERDICT_PREPARED:
        s.exec = v.statement
    return True


cdef size_t splice(Verdict* v, const uint8_t* sql, size_t n, Lexed* lexed, uint8_t* out) noexcept nogil:
    """Write the text with the cuts, at most n + v.grows bytes; its length. `out` NULL: only see whether they fit.

    0 when the text is not one in which their places are known.
    """
    cdef size_t copied = 0, length = 0, gap_at = 0, start
    cdef uint32_t i, slot = 0
    cdef uint16_t gap = 0
    cdef Cut* cut
    for i in range(v.ncuts):
        cut = &v.cuts[i]
        while gap < cut.gap:
            while slot < lexed.n_slots and lexed.slots[slot].off < gap_at:
                slot += 1       # within the rows before it
            if slot == lexed.n_slots:
                return 0
            gap_at = <size_t>lexed.slots[slot].off + lexed.slots[slot].len
            slot += 1
            gap += 1
        if gap_at > n or n - gap_at < max(cut.seen, cut.end) \
                or gap_at + cut.start < copied or memcmp(sql + gap_at, v.bytes + cut.seen_at, cut.seen) != 0:
            return 0
        start = gap_at + cut.start
        if out != NULL:
            memcpy(out + length, sql + copied, start - copied)
            memcpy(out + length + start - copied, v.bytes + cut.put_at, cut.put)
        length += start - copied + cut.put
        copied = gap_at + cut.end
    if out != NULL:
        memcpy(out + length, sql + copied, n - copied)
    return length + n - copied


cdef bint send_spliced(Core* c, Session* s, Backend* b) noexcept nogil:
    """The command's bytes with the verdict's splices. False if they do not fit, which `obey` has ruled out."""
    cdef size_t head = head_size(s, b), room = s.cmd_len + s.verdict.grows + head
    cdef Buf wide
    cdef uint8_t* out
    cdef size_t n
    if c.lexed_for != s:
        # It had to wait, and others came by.
        lex_into(s.cmd + 1, s.cmd_len - 1, s.lexmode, &c.lexed)
        c.lexed_for = s
    out = room_for(c, &wide, room)
    if out == NULL:
        return False
    n = splice(s.verdict, s.cmd + 1, s.cmd_len - 1, &c.lexed, out + 5 + head) if c.lexed.error == LEX_OK else 0
    if n == 0:
        buf_free(&wide)
        return False
    put_query_head(s, b, out + 4)
    return send_made(c, b, EXPECT_QUERY, out, 1 + head + n, &wide)
