local suspended = obj.spec.suspend == true
local held_back = obj.status ~= nil and obj.status.plan ~= nil
local actions = {}
actions["reconcile"] = {["disabled"] = suspended}
actions["suspend"] = {["disabled"] = suspended}
actions["resume"] = {["disabled"] = not suspended}
actions["approve-plan"] = {["disabled"] = suspended or not held_back}
return actions
