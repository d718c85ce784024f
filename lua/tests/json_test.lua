-- examples/json.lua, the reader of the example and of the conformance adapter.

local h = ...
local json = require "json"
local test, equal, holds = h.test, h.equal, h.holds

test("values", function()
  equal(json.decode("true"), true)
  equal(json.decode("false"), false)
  equal(json.decode(" null "), json.null)
  equal(json.decode("null", "nothing"), "nothing")
  equal(json.decode('"a"'), "a")
  equal(json.decode("-12"), -12)
  equal(json.decode("1.5e1"), 15)
  equal(json.decode("0"), 0)
  local value = json.decode('\r\n\t{"a": [1, {"b": []}, {}], "c": null}')
  equal(#value.a, 3)
  equal(next(value.a[2].b), nil)
  equal(next(value.a[3]), nil)
  equal(value.c, json.null)
end)

test("whole numbers are integers where there are integers", function()
  local kind = math.type or function() return "any" end -- luacheck: ignore
  local integer, float = kind(1), kind(1.5)
  equal(kind(json.decode("6000")), integer)
  equal(kind(json.decode("-0")), integer)
  equal(kind(json.decode("6000.0")), float)
  equal(kind(json.decode("6e3")), float)
  equal(kind(json.decode("9223372036854775808")), float)
  if math.type then -- luacheck: ignore
    equal(json.decode("9223372036854775807"), math.maxinteger) -- luacheck: ignore
  end
end)

test("strings", function()
  equal(json.decode([["\"\\\/\b\f\n\r\t"]]), '"\\/\b\f\n\r\t')
  equal(json.decode([["\u0041\u00e4\u20AC\ud83d\ude00\u0000"]]), "A\195\164\226\130\172\240\159\152\128\0")
  equal(json.decode([["\uffff\u07ff\u0800\udbff\udfff"]]), "\239\191\191\223\191\224\160\128\244\143\191\191")
  equal(json.decode('"\127\195\164"'), "\127\195\164")
  equal(json.decode([["\ud83d"]]), "\237\160\189", "a lone half: not UTF-8, and left to whoever reads it")
end)

test("what is not JSON", function()
  for _, text in ipairs({
    "", " ", "{", "[", "[1", "[1,", "[1,]", "[,1]", '{"a"}', '{"a":}', '{"a":1,}', "{a:1}", "{1:1}", '"a', [["\x"]],
    [["\u12"]], '"a\nb"', '"\0"', "01", "-", "-01", "1.", ".5", "1e", "+1", "0x10", "nan", "nil", "True", "truex",
    "1 2", "[] []", "{}x",
    "'a'", "NaN", "Infinity", ("["):rep(200), ("["):rep(100000),
  }) do
    local value, problem = json.decode(text)
    equal(value, nil, text:sub(1, 20))
    holds(problem, "at byte ")
  end
end)
