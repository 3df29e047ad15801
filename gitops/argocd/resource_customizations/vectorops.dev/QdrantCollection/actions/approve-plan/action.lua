-- What status.plan says is done, once: read it before.
if obj.metadata.annotations == nil then
  obj.metadata.annotations = {}
end
obj.metadata.annotations["vectorops.dev/approve-plan"] = obj.status.plan.hash
return obj
