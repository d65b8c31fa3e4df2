# The plan cache and the prepared statements' shared store. Included by relay.pyx.

cdef inline uint32_t plan_home(Core* c, uint64_t fingerprint, uint32_t ctx) noexcept nogil:
    return <uint32_t>((fingerprint ^ (<uint64_t>ctx * 0x9E3779B97F4A7C15u)) >> 20) & (c.plan_cap - 1)


cdef inline Plan* plan_find(Core* c, uint64_t fingerprint, uint32_t ctx, const uint8_t* norm,
                            uint32_t n) noexcept nogil:
    """The plan of this very text in this context: equal hashes are not enough, the bytes are compared."""
    cdef uint32_t i = plan_home(c, fingerprint, ctx)
    cdef Plan* plan = c.plans[i]
    while plan != NULL:
        if plan.fingerprint == fingerprint and plan.ctx == ctx and plan.norm_len == n \
                and (n == 0 or memcmp(plan.norm, norm, n) == 0):
            plan.referenced = 1
            return plan
        i = (i + 1) & (c.plan_cap - 1)
        plan = c.plans[i]
    return NULL


cdef inline size_t plan_size(Plan* plan) noexcept nogil:
    return sizeof(Plan) + plan.norm_len + plan.reply_len + plan.verdict_bytes + 64


cdef void plan_free(Core* c, Plan* plan) noexcept nogil:
    verdicts_release(c, plan)
    free(plan.norm)
    free(plan.reply)
    free(plan)


cdef void plan_remove(Core* c, uint32_t i) noexcept nogil:
    """Take entry i out; later entries of its probe run move up so that no search ends early."""
    cdef uint32_t hole = i, j = i, home
    cdef Plan* plan = c.plans[i]
    c.plan_bytes -= plan_size(plan)
    c.plan_count -= 1
    plan_free(c, plan)
    c.plans[hole] = NULL
    while True:
        j = (j + 1) & (c.plan_cap - 1)
        if c.plans[j] == NULL:
            break
        home = plan_home(c, c.plans[j].fingerprint, c.plans[j].ctx)
        if ((j - home) & (c.plan_cap - 1)) >= ((j - hole) & (c.plan_cap - 1)):
            c.plans[hole] = c.plans[j]
            c.plans[j] = NULL
            hole = j


cdef void plan_evict(Core* c) noexcept nogil:
    """Clock: the hand passes over plans used since its last visit and takes the first that was not."""
    cdef Plan* plan
    while True:
        c.plan_hand = (c.plan_hand + 1) & (c.plan_cap - 1)
        plan = c.plans[c.plan_hand]
        if plan == NULL:
            continue
        if plan.referenced and plan.epoch == c.epoch:
            plan.referenced = 0
            continue
        plan_remove(c, c.plan_hand)
        c.stats.plan_evictions += 1
        return


cdef void plan_put(Core* c, Plan* plan) noexcept nogil:
    """Add or replace. The cache is bounded in bytes and kept at most half full."""
    cdef uint32_t i
    while c.plan_count and (c.plan_bytes + plan_size(plan) > c.plan_bytes_max or c.plan_count * 2 >= c.plan_cap):
        plan_evict(c)
    i = plan_home(c, plan.fingerprint, plan.ctx)
    while c.plans[i] != NULL:
        if c.plans[i].fingerprint == plan.fingerprint and c.plans[i].ctx == plan.ctx \
                and c.plans[i].norm_len == plan.norm_len and memcmp(c.plans[i].norm, plan.norm, plan.norm_len) == 0:
            plan_remove(c, i)
            i = plan_home(c, plan.fingerprint, plan.ctx)
            continue
        i = (i + 1) & (c.plan_cap - 1)
    c.plans[i] = plan
    c.plan_count += 1
    c.plan_bytes += plan_size(plan)
    c.stats.plan_cache_bytes = c.plan_bytes
    c.stats.plan_cache_entries = c.plan_count


cdef inline void statement_release(Core* c, Statement* st) noexcept nogil:
    st.refs -= 1
    if st.refs == 0:
        c.stats.statements -= 1
        verdicts_release(c, &st.plan)
        free(st.sources)
        free(st.constants)
        free(st.text)
        free(st.twin)
        free(st)
