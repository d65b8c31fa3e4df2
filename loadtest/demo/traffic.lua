-- Load for the demo: customers of the own region, some of the other one, and a few purchases.
-- sysbench 1.0 knows neither sharding nor Fairlead: this is what an application would send.

sysbench.cmdline.options = {
    customers = {"Customers per region", 5000},
    own = {"The number in the ids of the own region", 1},
    other = {"The number in the ids of the other region", 2},
    abroad = {"Percentage of reads for the other region's customers", 10},
    writes = {"Percentage of events that are a purchase", 10},
}

local REGION = 2 ^ 40

local function customer(region)
    return string.format("%.0f", region * REGION + sysbench.rand.uniform(1, sysbench.opt.customers))
end

local function percent(share)
    return sysbench.rand.uniform(1, 100) <= share
end

function thread_init()
    connection = sysbench.sql.driver():connect()
end

function thread_done()
    connection:disconnect()
end

local function purchase()
    local id = customer(sysbench.opt.own)
    connection:query("BEGIN")
    connection:query("UPDATE customers SET balance = balance + 1 WHERE id = " .. id)
    connection:query("UPDATE orders SET status = 'paid' WHERE customer_id = " .. id)
    connection:query("COMMIT")
end

local function look_up()
    local region = percent(sysbench.opt.abroad) and sysbench.opt.other or sysbench.opt.own
    connection:query("SELECT name, balance FROM customers WHERE id = " .. customer(region))
end

function event()
    if percent(sysbench.opt.writes) then
        purchase()
    else
        look_up()
    end
end
