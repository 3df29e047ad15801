-- The resource follows kstatus: Ready always, Reconciling and Stalled only while they are true.
-- For all kinds of this group.
local hs = {}

if obj.spec ~= nil and obj.spec.suspend == true then
  hs.status = "Suspended"
  hs.message = "spec.suspend is true: nothing is compared and nothing is changed"
  return hs
end

if obj.status == nil or obj.status.observedGeneration ~= obj.metadata.generation then
  hs.status = "Progressing"
  hs.message = "Waiting for the operator to look at this generation"
  return hs
end

local conditions = {}
for _, condition in ipairs(obj.status.conditions or {}) do
  if condition.status == "True" or condition.type == "Ready" then
    conditions[condition.type] = condition
  end
end

local ready = conditions["Ready"]
if conditions["Stalled"] ~= nil then
  hs.status = "Degraded"
  hs.message = conditions["Stalled"].reason .. ": " .. conditions["Stalled"].message
elseif conditions["Reconciling"] ~= nil then
  hs.status = "Progressing"
  hs.message = conditions["Reconciling"].reason .. ": " .. conditions["Reconciling"].message
elseif ready ~= nil and ready.status == "True" then
  hs.status = "Healthy"
  hs.message = ready.message
  if conditions["Drifted"] ~= nil then
    hs.message = "Drifted: " .. conditions["Drifted"].message
  end
else
  hs.status = "Progressing"
  hs.message = ready ~= nil and ready.reason .. ": " .. ready.message or "Waiting for the operator"
end
return hs
