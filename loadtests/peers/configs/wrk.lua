-- Hosts or paths to ask for, one after another, when the arguments say how many; at the end the figures as one line of JSON.

local asked = {}
local turn = 0

function init(args)
  local count = tonumber(args[1] or "0")
  for number = 0, count - 1 do
    wrk.headers["Host"] = string.format(args[2], number)
    asked[#asked + 1] = wrk.format("GET")
  end
  for number = 1, tonumber(args[3] or "0") do
    asked[#asked + 1] = wrk.format("GET", string.format("%s/%d", wrk.path, number))
  end
  if #asked > 0 then
    request = function()
      turn = turn % #asked + 1
      return asked[turn]
    end
  end
end

function done(summary, latency, requests)
  local errors = summary.errors
  local all = errors.connect + errors.read + errors.write + errors.status + errors.timeout
  io.write(string.format(
    '\n{"units": %d, "seconds": %f, "errors": %d, "p50": %f, "p99": %f, "bytes": %d}\n',
    summary.requests - errors.status, summary.duration / 1e6, all, latency:percentile(50) / 1000, latency:percentile(99) / 1000,
    summary.bytes))
end
