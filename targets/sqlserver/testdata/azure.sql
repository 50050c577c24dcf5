-- What the driver sends, as TestStatementsAreThoseThatAreKept has seen it. Run it with sqlcmd.

-- the server is looked at
set nocount on; set xact_abort on; set lock_timeout 10000;
select cast(serverproperty('ProductVersion') as nvarchar(128)), cast(serverproperty('EngineEdition') as int), cast(original_login() as nvarchar(128)), cast(user_name() as nvarchar(128)), cast(db_name() as nvarchar(128)), cast(is_rolemember('db_owner') as int);
select cast(d.containment as int), cast(databasepropertyex(d.name, 'Updateability') as nvarchar(128)), cast(d.collation_name as nvarchar(128)), cast(case when d.replica_id is null then 0 else 1 end as int) from sys.databases d where d.name = db_name()
GO
select cast(d.name as nvarchar(128)), cast(d.state_desc as nvarchar(60)), cast(has_dbaccess(d.name) as int) from sys.databases d where d.name not in (N'master', N'tempdb', N'model', N'msdb') and d.source_database_id is null order by d.name
GO

-- the database is looked at
set nocount on; set xact_abort on; set lock_timeout 10000;
select cast(serverproperty('ProductVersion') as nvarchar(128)), cast(serverproperty('EngineEdition') as int), cast(original_login() as nvarchar(128)), cast(user_name() as nvarchar(128)), cast(db_name() as nvarchar(128)), cast(is_rolemember('db_owner') as int);
select cast(d.containment as int), cast(databasepropertyex(d.name, 'Updateability') as nvarchar(128)), cast(d.collation_name as nvarchar(128)), cast(case when d.replica_id is null then 0 else 1 end as int) from sys.databases d where d.name = db_name()
GO
select cast(d.name as nvarchar(128)), cast(d.state_desc as nvarchar(60)), cast(has_dbaccess(d.name) as int) from sys.databases d where d.name not in (N'master', N'tempdb', N'model', N'msdb') and d.source_database_id is null order by d.name
GO
select cast(has_perms_by_name(quotename(db_name()), N'DATABASE', N'KILL DATABASE CONNECTION') as int), cast(has_perms_by_name(quotename(db_name()), N'DATABASE', N'VIEW DATABASE STATE') as int)
GO
select cast(p.name as nvarchar(128)), cast(count(*) as int) from sys.database_permissions m join sys.database_principals p on p.principal_id = m.grantee_principal_id where m.state in (N'G', N'W') and (p.name = N'guest' and m.class = 0 and m.permission_name = N'CONNECT' or p.name = N'public' and (m.class = 3 or m.class = 1 and m.major_id > 0 or m.class = 0 and m.permission_name in (N'SELECT', N'INSERT', N'UPDATE', N'DELETE', N'EXECUTE', N'ALTER', N'CONTROL'))) group by p.name order by p.name
GO

-- an owner's login is made
set nocount on; set xact_abort on; set lock_timeout 10000;
select cast(serverproperty('ProductVersion') as nvarchar(128)), cast(serverproperty('EngineEdition') as int), cast(original_login() as nvarchar(128)), cast(user_name() as nvarchar(128)), cast(db_name() as nvarchar(128)), cast(is_rolemember('db_owner') as int);
select cast(d.containment as int), cast(databasepropertyex(d.name, 'Updateability') as nvarchar(128)), cast(d.collation_name as nvarchar(128)), cast(case when d.replica_id is null then 0 else 1 end as int) from sys.databases d where d.name = db_name()
GO
declare @got int; exec @got = sys.sp_getapplock @Resource = N'patchbay/pb_aaaaaaaaaa_g1', @LockOwner = N'Session', @DbPrincipal = N'db_owner', @LockMode = N'Exclusive', @LockTimeout = 10000; select @got
GO
select cast(p.principal_id as int), cast(p.type as nvarchar(4)), cast(p.authentication_type as int), convert(nvarchar(180), p.sid, 1), cast(p.name as nvarchar(128)), cast(x.value as nvarchar(3750)) from sys.database_principals p left join sys.extended_properties x on x.class = 4 and x.major_id = p.principal_id and x.minor_id = 0 and x.name = N'patchbay' where p.name in (N'pb_aaaaaaaaaa_g1', N'patchbay');
select cast(m.class_desc as nvarchar(60)), cast(m.permission_name as nvarchar(128)), cast(m.state as nvarchar(2)), cast(g.name as nvarchar(128)), cast(coalesce(s.name, os.name) as nvarchar(128)), cast(o.name as nvarchar(128)), cast(c.name as nvarchar(128)) from sys.database_permissions m join sys.database_principals p on p.principal_id = m.grantee_principal_id join sys.database_principals g on g.principal_id = m.grantor_principal_id left join sys.schemas s on m.class = 3 and s.schema_id = m.major_id left join sys.objects o on m.class = 1 and o.object_id = m.major_id left join sys.schemas os on os.schema_id = o.schema_id left join sys.columns c on m.class = 1 and c.object_id = m.major_id and c.column_id = m.minor_id where p.name = N'pb_aaaaaaaaaa_g1';
select cast(g.name as nvarchar(128)) from sys.database_role_members m join sys.database_principals g on g.principal_id = m.role_principal_id join sys.database_principals p on p.principal_id = m.member_principal_id where p.name = N'pb_aaaaaaaaaa_g1';
select cast(s.session_id as int), cast(q.command as nvarchar(32)) from sys.dm_exec_sessions s left join sys.dm_exec_requests q on q.session_id = s.session_id where s.is_user_process = 1 and (s.original_security_id = 0x68E2F23946DC5E55E56DCB87F56062F0 or s.original_security_id in (select p.sid from sys.database_principals p where p.name = N'pb_aaaaaaaaaa_g1'))
GO
begin transaction;
create user [pb_aaaaaaaaaa_g1] with password = N'<password>', default_schema = [dbo];
declare @mark nvarchar(3750) = N'{"uid":"aaaaaaaaaa","generation":1,"connection":"/subscriptions/s/resourceGroups/g/providers/Microsoft.Web/sites/web/providers/Microsoft.ServiceLinker/linkers/it''s","kind":"user","name":"pb_aaaaaaaaaa_g1","database":"shop"}#' + (select convert(nvarchar(180), p.sid, 1) from sys.database_principals p where p.name = N'pb_aaaaaaaaaa_g1'); exec sys.sp_addextendedproperty @name = N'patchbay', @value = @mark, @level0type = N'USER', @level0name = N'pb_aaaaaaaaaa_g1';
commit transaction
GO
select cast(p.principal_id as int), cast(p.type as nvarchar(4)), cast(p.authentication_type as int), convert(nvarchar(180), p.sid, 1), cast(p.name as nvarchar(128)), cast(x.value as nvarchar(3750)) from sys.database_principals p left join sys.extended_properties x on x.class = 4 and x.major_id = p.principal_id and x.minor_id = 0 and x.name = N'patchbay' where p.name in (N'pb_aaaaaaaaaa_g1', N'patchbay');
select cast(m.class_desc as nvarchar(60)), cast(m.permission_name as nvarchar(128)), cast(m.state as nvarchar(2)), cast(g.name as nvarchar(128)), cast(coalesce(s.name, os.name) as nvarchar(128)), cast(o.name as nvarchar(128)), cast(c.name as nvarchar(128)) from sys.database_permissions m join sys.database_principals p on p.principal_id = m.grantee_principal_id join sys.database_principals g on g.principal_id = m.grantor_principal_id left join sys.schemas s on m.class = 3 and s.schema_id = m.major_id left join sys.objects o on m.class = 1 and o.object_id = m.major_id left join sys.schemas os on os.schema_id = o.schema_id left join sys.columns c on m.class = 1 and c.object_id = m.major_id and c.column_id = m.minor_id where p.name = N'pb_aaaaaaaaaa_g1';
select cast(g.name as nvarchar(128)) from sys.database_role_members m join sys.database_principals g on g.principal_id = m.role_principal_id join sys.database_principals p on p.principal_id = m.member_principal_id where p.name = N'pb_aaaaaaaaaa_g1';
select cast(s.session_id as int), cast(q.command as nvarchar(32)) from sys.dm_exec_sessions s left join sys.dm_exec_requests q on q.session_id = s.session_id where s.is_user_process = 1 and (s.original_security_id = 0x68E2F23946DC5E55E56DCB87F56062F0 or s.original_security_id in (select p.sid from sys.database_principals p where p.name = N'pb_aaaaaaaaaa_g1'))
GO
grant SELECT, INSERT, UPDATE, DELETE, EXECUTE, ALTER ANY SCHEMA, CREATE FUNCTION, CREATE PROCEDURE, CREATE SCHEMA, CREATE SYNONYM, CREATE TABLE, CREATE TYPE, CREATE VIEW, REFERENCES, VIEW DEFINITION to [pb_aaaaaaaaaa_g1]
GO
select cast(p.principal_id as int), cast(p.type as nvarchar(4)), cast(p.authentication_type as int), convert(nvarchar(180), p.sid, 1), cast(p.name as nvarchar(128)), cast(x.value as nvarchar(3750)) from sys.database_principals p left join sys.extended_properties x on x.class = 4 and x.major_id = p.principal_id and x.minor_id = 0 and x.name = N'patchbay' where p.name in (N'pb_aaaaaaaaaa_g1', N'patchbay');
select cast(m.class_desc as nvarchar(60)), cast(m.permission_name as nvarchar(128)), cast(m.state as nvarchar(2)), cast(g.name as nvarchar(128)), cast(coalesce(s.name, os.name) as nvarchar(128)), cast(o.name as nvarchar(128)), cast(c.name as nvarchar(128)) from sys.database_permissions m join sys.database_principals p on p.principal_id = m.grantee_principal_id join sys.database_principals g on g.principal_id = m.grantor_principal_id left join sys.schemas s on m.class = 3 and s.schema_id = m.major_id left join sys.objects o on m.class = 1 and o.object_id = m.major_id left join sys.schemas os on os.schema_id = o.schema_id left join sys.columns c on m.class = 1 and c.object_id = m.major_id and c.column_id = m.minor_id where p.name = N'pb_aaaaaaaaaa_g1';
select cast(g.name as nvarchar(128)) from sys.database_role_members m join sys.database_principals g on g.principal_id = m.role_principal_id join sys.database_principals p on p.principal_id = m.member_principal_id where p.name = N'pb_aaaaaaaaaa_g1';
select cast(s.session_id as int), cast(q.command as nvarchar(32)) from sys.dm_exec_sessions s left join sys.dm_exec_requests q on q.session_id = s.session_id where s.is_user_process = 1 and (s.original_security_id = 0x68E2F23946DC5E55E56DCB87F56062F0 or s.original_security_id in (select p.sid from sys.database_principals p where p.name = N'pb_aaaaaaaaaa_g1'))
GO
exec sys.sp_releaseapplock @Resource = N'patchbay/pb_aaaaaaaaaa_g1', @LockOwner = N'Session', @DbPrincipal = N'db_owner'
GO

-- it is made again
set nocount on; set xact_abort on; set lock_timeout 10000;
select cast(serverproperty('ProductVersion') as nvarchar(128)), cast(serverproperty('EngineEdition') as int), cast(original_login() as nvarchar(128)), cast(user_name() as nvarchar(128)), cast(db_name() as nvarchar(128)), cast(is_rolemember('db_owner') as int);
select cast(d.containment as int), cast(databasepropertyex(d.name, 'Updateability') as nvarchar(128)), cast(d.collation_name as nvarchar(128)), cast(case when d.replica_id is null then 0 else 1 end as int) from sys.databases d where d.name = db_name()
GO
declare @got int; exec @got = sys.sp_getapplock @Resource = N'patchbay/pb_aaaaaaaaaa_g1', @LockOwner = N'Session', @DbPrincipal = N'db_owner', @LockMode = N'Exclusive', @LockTimeout = 10000; select @got
GO
select cast(p.principal_id as int), cast(p.type as nvarchar(4)), cast(p.authentication_type as int), convert(nvarchar(180), p.sid, 1), cast(p.name as nvarchar(128)), cast(x.value as nvarchar(3750)) from sys.database_principals p left join sys.extended_properties x on x.class = 4 and x.major_id = p.principal_id and x.minor_id = 0 and x.name = N'patchbay' where p.name in (N'pb_aaaaaaaaaa_g1', N'patchbay');
select cast(m.class_desc as nvarchar(60)), cast(m.permission_name as nvarchar(128)), cast(m.state as nvarchar(2)), cast(g.name as nvarchar(128)), cast(coalesce(s.name, os.name) as nvarchar(128)), cast(o.name as nvarchar(128)), cast(c.name as nvarchar(128)) from sys.database_permissions m join sys.database_principals p on p.principal_id = m.grantee_principal_id join sys.database_principals g on g.principal_id = m.grantor_principal_id left join sys.schemas s on m.class = 3 and s.schema_id = m.major_id left join sys.objects o on m.class = 1 and o.object_id = m.major_id left join sys.schemas os on os.schema_id = o.schema_id left join sys.columns c on m.class = 1 and c.object_id = m.major_id and c.column_id = m.minor_id where p.name = N'pb_aaaaaaaaaa_g1';
select cast(g.name as nvarchar(128)) from sys.database_role_members m join sys.database_principals g on g.principal_id = m.role_principal_id join sys.database_principals p on p.principal_id = m.member_principal_id where p.name = N'pb_aaaaaaaaaa_g1';
select cast(s.session_id as int), cast(q.command as nvarchar(32)) from sys.dm_exec_sessions s left join sys.dm_exec_requests q on q.session_id = s.session_id where s.is_user_process = 1 and (s.original_security_id = 0x68E2F23946DC5E55E56DCB87F56062F0 or s.original_security_id in (select p.sid from sys.database_principals p where p.name = N'pb_aaaaaaaaaa_g1'))
GO
alter user [pb_aaaaaaaaaa_g1] with password = N'<password>'
GO
select cast(p.principal_id as int), cast(p.type as nvarchar(4)), cast(p.authentication_type as int), convert(nvarchar(180), p.sid, 1), cast(p.name as nvarchar(128)), cast(x.value as nvarchar(3750)) from sys.database_principals p left join sys.extended_properties x on x.class = 4 and x.major_id = p.principal_id and x.minor_id = 0 and x.name = N'patchbay' where p.name in (N'pb_aaaaaaaaaa_g1', N'patchbay');
select cast(m.class_desc as nvarchar(60)), cast(m.permission_name as nvarchar(128)), cast(m.state as nvarchar(2)), cast(g.name as nvarchar(128)), cast(coalesce(s.name, os.name) as nvarchar(128)), cast(o.name as nvarchar(128)), cast(c.name as nvarchar(128)) from sys.database_permissions m join sys.database_principals p on p.principal_id = m.grantee_principal_id join sys.database_principals g on g.principal_id = m.grantor_principal_id left join sys.schemas s on m.class = 3 and s.schema_id = m.major_id left join sys.objects o on m.class = 1 and o.object_id = m.major_id left join sys.schemas os on os.schema_id = o.schema_id left join sys.columns c on m.class = 1 and c.object_id = m.major_id and c.column_id = m.minor_id where p.name = N'pb_aaaaaaaaaa_g1';
select cast(g.name as nvarchar(128)) from sys.database_role_members m join sys.database_principals g on g.principal_id = m.role_principal_id join sys.database_principals p on p.principal_id = m.member_principal_id where p.name = N'pb_aaaaaaaaaa_g1';
select cast(s.session_id as int), cast(q.command as nvarchar(32)) from sys.dm_exec_sessions s left join sys.dm_exec_requests q on q.session_id = s.session_id where s.is_user_process = 1 and (s.original_security_id = 0x68E2F23946DC5E55E56DCB87F56062F0 or s.original_security_id in (select p.sid from sys.database_principals p where p.name = N'pb_aaaaaaaaaa_g1'))
GO
select cast(p.principal_id as int), cast(p.type as nvarchar(4)), cast(p.authentication_type as int), convert(nvarchar(180), p.sid, 1), cast(p.name as nvarchar(128)), cast(x.value as nvarchar(3750)) from sys.database_principals p left join sys.extended_properties x on x.class = 4 and x.major_id = p.principal_id and x.minor_id = 0 and x.name = N'patchbay' where p.name in (N'pb_aaaaaaaaaa_g1', N'patchbay');
select cast(m.class_desc as nvarchar(60)), cast(m.permission_name as nvarchar(128)), cast(m.state as nvarchar(2)), cast(g.name as nvarchar(128)), cast(coalesce(s.name, os.name) as nvarchar(128)), cast(o.name as nvarchar(128)), cast(c.name as nvarchar(128)) from sys.database_permissions m join sys.database_principals p on p.principal_id = m.grantee_principal_id join sys.database_principals g on g.principal_id = m.grantor_principal_id left join sys.schemas s on m.class = 3 and s.schema_id = m.major_id left join sys.objects o on m.class = 1 and o.object_id = m.major_id left join sys.schemas os on os.schema_id = o.schema_id left join sys.columns c on m.class = 1 and c.object_id = m.major_id and c.column_id = m.minor_id where p.name = N'pb_aaaaaaaaaa_g1';
select cast(g.name as nvarchar(128)) from sys.database_role_members m join sys.database_principals g on g.principal_id = m.role_principal_id join sys.database_principals p on p.principal_id = m.member_principal_id where p.name = N'pb_aaaaaaaaaa_g1';
select cast(s.session_id as int), cast(q.command as nvarchar(32)) from sys.dm_exec_sessions s left join sys.dm_exec_requests q on q.session_id = s.session_id where s.is_user_process = 1 and (s.original_security_id = 0x68E2F23946DC5E55E56DCB87F56062F0 or s.original_security_id in (select p.sid from sys.database_principals p where p.name = N'pb_aaaaaaaaaa_g1'))
GO
exec sys.sp_releaseapplock @Resource = N'patchbay/pb_aaaaaaaaaa_g1', @LockOwner = N'Session', @DbPrincipal = N'db_owner'
GO

-- it is repaired
set nocount on; set xact_abort on; set lock_timeout 10000;
select cast(serverproperty('ProductVersion') as nvarchar(128)), cast(serverproperty('EngineEdition') as int), cast(original_login() as nvarchar(128)), cast(user_name() as nvarchar(128)), cast(db_name() as nvarchar(128)), cast(is_rolemember('db_owner') as int);
select cast(d.containment as int), cast(databasepropertyex(d.name, 'Updateability') as nvarchar(128)), cast(d.collation_name as nvarchar(128)), cast(case when d.replica_id is null then 0 else 1 end as int) from sys.databases d where d.name = db_name()
GO
declare @got int; exec @got = sys.sp_getapplock @Resource = N'patchbay/pb_aaaaaaaaaa_g1', @LockOwner = N'Session', @DbPrincipal = N'db_owner', @LockMode = N'Exclusive', @LockTimeout = 10000; select @got
GO
select cast(p.principal_id as int), cast(p.type as nvarchar(4)), cast(p.authentication_type as int), convert(nvarchar(180), p.sid, 1), cast(p.name as nvarchar(128)), cast(x.value as nvarchar(3750)) from sys.database_principals p left join sys.extended_properties x on x.class = 4 and x.major_id = p.principal_id and x.minor_id = 0 and x.name = N'patchbay' where p.name in (N'pb_aaaaaaaaaa_g1', N'patchbay');
select cast(m.class_desc as nvarchar(60)), cast(m.permission_name as nvarchar(128)), cast(m.state as nvarchar(2)), cast(g.name as nvarchar(128)), cast(coalesce(s.name, os.name) as nvarchar(128)), cast(o.name as nvarchar(128)), cast(c.name as nvarchar(128)) from sys.database_permissions m join sys.database_principals p on p.principal_id = m.grantee_principal_id join sys.database_principals g on g.principal_id = m.grantor_principal_id left join sys.schemas s on m.class = 3 and s.schema_id = m.major_id left join sys.objects o on m.class = 1 and o.object_id = m.major_id left join sys.schemas os on os.schema_id = o.schema_id left join sys.columns c on m.class = 1 and c.object_id = m.major_id and c.column_id = m.minor_id where p.name = N'pb_aaaaaaaaaa_g1';
select cast(g.name as nvarchar(128)) from sys.database_role_members m join sys.database_principals g on g.principal_id = m.role_principal_id join sys.database_principals p on p.principal_id = m.member_principal_id where p.name = N'pb_aaaaaaaaaa_g1';
select cast(s.session_id as int), cast(q.command as nvarchar(32)) from sys.dm_exec_sessions s left join sys.dm_exec_requests q on q.session_id = s.session_id where s.is_user_process = 1 and (s.original_security_id = 0x68E2F23946DC5E55E56DCB87F56062F0 or s.original_security_id in (select p.sid from sys.database_principals p where p.name = N'pb_aaaaaaaaaa_g1'))
GO
alter user [pb_aaaaaaaaaa_g1] with password = N'<password>'
GO
select cast(p.principal_id as int), cast(p.type as nvarchar(4)), cast(p.authentication_type as int), convert(nvarchar(180), p.sid, 1), cast(p.name as nvarchar(128)), cast(x.value as nvarchar(3750)) from sys.database_principals p left join sys.extended_properties x on x.class = 4 and x.major_id = p.principal_id and x.minor_id = 0 and x.name = N'patchbay' where p.name in (N'pb_aaaaaaaaaa_g1', N'patchbay');
select cast(m.class_desc as nvarchar(60)), cast(m.permission_name as nvarchar(128)), cast(m.state as nvarchar(2)), cast(g.name as nvarchar(128)), cast(coalesce(s.name, os.name) as nvarchar(128)), cast(o.name as nvarchar(128)), cast(c.name as nvarchar(128)) from sys.database_permissions m join sys.database_principals p on p.principal_id = m.grantee_principal_id join sys.database_principals g on g.principal_id = m.grantor_principal_id left join sys.schemas s on m.class = 3 and s.schema_id = m.major_id left join sys.objects o on m.class = 1 and o.object_id = m.major_id left join sys.schemas os on os.schema_id = o.schema_id left join sys.columns c on m.class = 1 and c.object_id = m.major_id and c.column_id = m.minor_id where p.name = N'pb_aaaaaaaaaa_g1';
select cast(g.name as nvarchar(128)) from sys.database_role_members m join sys.database_principals g on g.principal_id = m.role_principal_id join sys.database_principals p on p.principal_id = m.member_principal_id where p.name = N'pb_aaaaaaaaaa_g1';
select cast(s.session_id as int), cast(q.command as nvarchar(32)) from sys.dm_exec_sessions s left join sys.dm_exec_requests q on q.session_id = s.session_id where s.is_user_process = 1 and (s.original_security_id = 0x68E2F23946DC5E55E56DCB87F56062F0 or s.original_security_id in (select p.sid from sys.database_principals p where p.name = N'pb_aaaaaaaaaa_g1'))
GO
revoke INSERT from [pb_aaaaaaaaaa_g1] cascade
GO
revoke UPDATE on object::[dbo].[items]([name]) from [pb_aaaaaaaaaa_g1] cascade
GO
revoke INSERT on schema::[dbo] from [pb_aaaaaaaaaa_g1] cascade
GO
alter role [db_ddladmin] drop member [pb_aaaaaaaaaa_g1]
GO
grant INSERT to [pb_aaaaaaaaaa_g1]
GO
select cast(p.principal_id as int), cast(p.type as nvarchar(4)), cast(p.authentication_type as int), convert(nvarchar(180), p.sid, 1), cast(p.name as nvarchar(128)), cast(x.value as nvarchar(3750)) from sys.database_principals p left join sys.extended_properties x on x.class = 4 and x.major_id = p.principal_id and x.minor_id = 0 and x.name = N'patchbay' where p.name in (N'pb_aaaaaaaaaa_g1', N'patchbay');
select cast(m.class_desc as nvarchar(60)), cast(m.permission_name as nvarchar(128)), cast(m.state as nvarchar(2)), cast(g.name as nvarchar(128)), cast(coalesce(s.name, os.name) as nvarchar(128)), cast(o.name as nvarchar(128)), cast(c.name as nvarchar(128)) from sys.database_permissions m join sys.database_principals p on p.principal_id = m.grantee_principal_id join sys.database_principals g on g.principal_id = m.grantor_principal_id left join sys.schemas s on m.class = 3 and s.schema_id = m.major_id left join sys.objects o on m.class = 1 and o.object_id = m.major_id left join sys.schemas os on os.schema_id = o.schema_id left join sys.columns c on m.class = 1 and c.object_id = m.major_id and c.column_id = m.minor_id where p.name = N'pb_aaaaaaaaaa_g1';
select cast(g.name as nvarchar(128)) from sys.database_role_members m join sys.database_principals g on g.principal_id = m.role_principal_id join sys.database_principals p on p.principal_id = m.member_principal_id where p.name = N'pb_aaaaaaaaaa_g1';
select cast(s.session_id as int), cast(q.command as nvarchar(32)) from sys.dm_exec_sessions s left join sys.dm_exec_requests q on q.session_id = s.session_id where s.is_user_process = 1 and (s.original_security_id = 0x68E2F23946DC5E55E56DCB87F56062F0 or s.original_security_id in (select p.sid from sys.database_principals p where p.name = N'pb_aaaaaaaaaa_g1'))
GO
exec sys.sp_releaseapplock @Resource = N'patchbay/pb_aaaaaaaaaa_g1', @LockOwner = N'Session', @DbPrincipal = N'db_owner'
GO

-- it is looked at
set nocount on; set xact_abort on; set lock_timeout 10000;
select cast(serverproperty('ProductVersion') as nvarchar(128)), cast(serverproperty('EngineEdition') as int), cast(original_login() as nvarchar(128)), cast(user_name() as nvarchar(128)), cast(db_name() as nvarchar(128)), cast(is_rolemember('db_owner') as int);
select cast(d.containment as int), cast(databasepropertyex(d.name, 'Updateability') as nvarchar(128)), cast(d.collation_name as nvarchar(128)), cast(case when d.replica_id is null then 0 else 1 end as int) from sys.databases d where d.name = db_name()
GO
select cast(p.principal_id as int), cast(p.type as nvarchar(4)), cast(p.authentication_type as int), convert(nvarchar(180), p.sid, 1), cast(p.name as nvarchar(128)), cast(x.value as nvarchar(3750)) from sys.database_principals p left join sys.extended_properties x on x.class = 4 and x.major_id = p.principal_id and x.minor_id = 0 and x.name = N'patchbay' where p.name in (N'pb_aaaaaaaaaa_g1', N'patchbay');
select cast(m.class_desc as nvarchar(60)), cast(m.permission_name as nvarchar(128)), cast(m.state as nvarchar(2)), cast(g.name as nvarchar(128)), cast(coalesce(s.name, os.name) as nvarchar(128)), cast(o.name as nvarchar(128)), cast(c.name as nvarchar(128)) from sys.database_permissions m join sys.database_principals p on p.principal_id = m.grantee_principal_id join sys.database_principals g on g.principal_id = m.grantor_principal_id left join sys.schemas s on m.class = 3 and s.schema_id = m.major_id left join sys.objects o on m.class = 1 and o.object_id = m.major_id left join sys.schemas os on os.schema_id = o.schema_id left join sys.columns c on m.class = 1 and c.object_id = m.major_id and c.column_id = m.minor_id where p.name = N'pb_aaaaaaaaaa_g1';
select cast(g.name as nvarchar(128)) from sys.database_role_members m join sys.database_principals g on g.principal_id = m.role_principal_id join sys.database_principals p on p.principal_id = m.member_principal_id where p.name = N'pb_aaaaaaaaaa_g1';
select cast(s.session_id as int), cast(q.command as nvarchar(32)) from sys.dm_exec_sessions s left join sys.dm_exec_requests q on q.session_id = s.session_id where s.is_user_process = 1 and (s.original_security_id = 0x68E2F23946DC5E55E56DCB87F56062F0 or s.original_security_id in (select p.sid from sys.database_principals p where p.name = N'pb_aaaaaaaaaa_g1'))
GO

-- all logins are listed
set nocount on; set xact_abort on; set lock_timeout 10000;
select cast(serverproperty('ProductVersion') as nvarchar(128)), cast(serverproperty('EngineEdition') as int), cast(original_login() as nvarchar(128)), cast(user_name() as nvarchar(128)), cast(db_name() as nvarchar(128)), cast(is_rolemember('db_owner') as int);
select cast(d.containment as int), cast(databasepropertyex(d.name, 'Updateability') as nvarchar(128)), cast(d.collation_name as nvarchar(128)), cast(case when d.replica_id is null then 0 else 1 end as int) from sys.databases d where d.name = db_name()
GO
select cast(d.name as nvarchar(128)), cast(d.state_desc as nvarchar(60)), cast(has_dbaccess(d.name) as int) from sys.databases d where d.name not in (N'master', N'tempdb', N'model', N'msdb') and d.source_database_id is null order by d.name
GO
set nocount on; set xact_abort on; set lock_timeout 10000;
select cast(serverproperty('ProductVersion') as nvarchar(128)), cast(serverproperty('EngineEdition') as int), cast(original_login() as nvarchar(128)), cast(user_name() as nvarchar(128)), cast(db_name() as nvarchar(128)), cast(is_rolemember('db_owner') as int);
select cast(d.containment as int), cast(databasepropertyex(d.name, 'Updateability') as nvarchar(128)), cast(d.collation_name as nvarchar(128)), cast(case when d.replica_id is null then 0 else 1 end as int) from sys.databases d where d.name = db_name()
GO
select cast(p.name as nvarchar(128)), convert(nvarchar(180), p.sid, 1), cast(x.value as nvarchar(3750)) from sys.database_principals p join sys.extended_properties x on x.class = 4 and x.major_id = p.principal_id and x.minor_id = 0 where x.name = N'patchbay' order by p.principal_id
GO
set nocount on; set xact_abort on; set lock_timeout 10000;
select cast(serverproperty('ProductVersion') as nvarchar(128)), cast(serverproperty('EngineEdition') as int), cast(original_login() as nvarchar(128)), cast(user_name() as nvarchar(128)), cast(db_name() as nvarchar(128)), cast(is_rolemember('db_owner') as int);
select cast(d.containment as int), cast(databasepropertyex(d.name, 'Updateability') as nvarchar(128)), cast(d.collation_name as nvarchar(128)), cast(case when d.replica_id is null then 0 else 1 end as int) from sys.databases d where d.name = db_name()
GO
select cast(p.name as nvarchar(128)), convert(nvarchar(180), p.sid, 1), cast(x.value as nvarchar(3750)) from sys.database_principals p join sys.extended_properties x on x.class = 4 and x.major_id = p.principal_id and x.minor_id = 0 where x.name = N'patchbay' order by p.principal_id
GO
set nocount on; set xact_abort on; set lock_timeout 10000;
select cast(serverproperty('ProductVersion') as nvarchar(128)), cast(serverproperty('EngineEdition') as int), cast(original_login() as nvarchar(128)), cast(user_name() as nvarchar(128)), cast(db_name() as nvarchar(128)), cast(is_rolemember('db_owner') as int);
select cast(d.containment as int), cast(databasepropertyex(d.name, 'Updateability') as nvarchar(128)), cast(d.collation_name as nvarchar(128)), cast(case when d.replica_id is null then 0 else 1 end as int) from sys.databases d where d.name = db_name()
GO
select cast(p.name as nvarchar(128)), convert(nvarchar(180), p.sid, 1), cast(x.value as nvarchar(3750)) from sys.database_principals p join sys.extended_properties x on x.class = 4 and x.major_id = p.principal_id and x.minor_id = 0 where x.name = N'patchbay' order by p.principal_id
GO

-- what a login can do besides is asked
set nocount on; set xact_abort on; set lock_timeout 10000;
select cast(serverproperty('ProductVersion') as nvarchar(128)), cast(serverproperty('EngineEdition') as int), cast(original_login() as nvarchar(128)), cast(user_name() as nvarchar(128)), cast(db_name() as nvarchar(128)), cast(is_rolemember('db_owner') as int);
select cast(d.containment as int), cast(databasepropertyex(d.name, 'Updateability') as nvarchar(128)), cast(d.collation_name as nvarchar(128)), cast(case when d.replica_id is null then 0 else 1 end as int) from sys.databases d where d.name = db_name()
GO
select cast(count(*) as int) from sys.sql_modules m where m.execute_as_principal_id is not null
GO

-- it is removed; it is signed in, owns a schema, and a procedure runs as it
set nocount on; set xact_abort on; set lock_timeout 10000;
select cast(serverproperty('ProductVersion') as nvarchar(128)), cast(serverproperty('EngineEdition') as int), cast(original_login() as nvarchar(128)), cast(user_name() as nvarchar(128)), cast(db_name() as nvarchar(128)), cast(is_rolemember('db_owner') as int);
select cast(d.containment as int), cast(databasepropertyex(d.name, 'Updateability') as nvarchar(128)), cast(d.collation_name as nvarchar(128)), cast(case when d.replica_id is null then 0 else 1 end as int) from sys.databases d where d.name = db_name()
GO
declare @got int; exec @got = sys.sp_getapplock @Resource = N'patchbay/pb_aaaaaaaaaa_g1', @LockOwner = N'Session', @DbPrincipal = N'db_owner', @LockMode = N'Exclusive', @LockTimeout = 10000; select @got
GO
select cast(p.principal_id as int), cast(p.type as nvarchar(4)), cast(p.authentication_type as int), convert(nvarchar(180), p.sid, 1), cast(p.name as nvarchar(128)), cast(x.value as nvarchar(3750)) from sys.database_principals p left join sys.extended_properties x on x.class = 4 and x.major_id = p.principal_id and x.minor_id = 0 and x.name = N'patchbay' where p.name in (N'pb_aaaaaaaaaa_g1', N'patchbay');
select cast(m.class_desc as nvarchar(60)), cast(m.permission_name as nvarchar(128)), cast(m.state as nvarchar(2)), cast(g.name as nvarchar(128)), cast(coalesce(s.name, os.name) as nvarchar(128)), cast(o.name as nvarchar(128)), cast(c.name as nvarchar(128)) from sys.database_permissions m join sys.database_principals p on p.principal_id = m.grantee_principal_id join sys.database_principals g on g.principal_id = m.grantor_principal_id left join sys.schemas s on m.class = 3 and s.schema_id = m.major_id left join sys.objects o on m.class = 1 and o.object_id = m.major_id left join sys.schemas os on os.schema_id = o.schema_id left join sys.columns c on m.class = 1 and c.object_id = m.major_id and c.column_id = m.minor_id where p.name = N'pb_aaaaaaaaaa_g1';
select cast(g.name as nvarchar(128)) from sys.database_role_members m join sys.database_principals g on g.principal_id = m.role_principal_id join sys.database_principals p on p.principal_id = m.member_principal_id where p.name = N'pb_aaaaaaaaaa_g1';
select cast(s.session_id as int), cast(q.command as nvarchar(32)) from sys.dm_exec_sessions s left join sys.dm_exec_requests q on q.session_id = s.session_id where s.is_user_process = 1 and (s.original_security_id = 0x68E2F23946DC5E55E56DCB87F56062F0 or s.original_security_id in (select p.sid from sys.database_principals p where p.name = N'pb_aaaaaaaaaa_g1'))
GO
alter user [pb_aaaaaaaaaa_g1] with password = N'<password>'
GO
select cast(s.session_id as int), cast(q.command as nvarchar(32)) from sys.dm_exec_sessions s left join sys.dm_exec_requests q on q.session_id = s.session_id where s.is_user_process = 1 and (s.original_security_id = 0x68E2F23946DC5E55E56DCB87F56062F0 or s.original_security_id in (select p.sid from sys.database_principals p where p.name = N'pb_aaaaaaaaaa_g1'))
GO
kill <session>
GO
select cast(s.session_id as int), cast(q.command as nvarchar(32)) from sys.dm_exec_sessions s left join sys.dm_exec_requests q on q.session_id = s.session_id where s.is_user_process = 1 and (s.original_security_id = 0x68E2F23946DC5E55E56DCB87F56062F0 or s.original_security_id in (select p.sid from sys.database_principals p where p.name = N'pb_aaaaaaaaaa_g1'))
GO
select cast(N'schema' as nvarchar(8)), cast(o.name as nvarchar(128)), cast(N'' as nvarchar(128)) from sys.schemas o join sys.database_principals p on p.principal_id = o.principal_id where p.name = N'pb_aaaaaaaaaa_g1' union all select cast(N'object' as nvarchar(8)), cast(s.name as nvarchar(128)), cast(o.name as nvarchar(128)) from sys.objects o join sys.schemas s on s.schema_id = o.schema_id join sys.database_principals p on p.principal_id = o.principal_id where p.name = N'pb_aaaaaaaaaa_g1' and o.parent_object_id = 0 union all select cast(N'type' as nvarchar(8)), cast(s.name as nvarchar(128)), cast(o.name as nvarchar(128)) from sys.types o join sys.schemas s on s.schema_id = o.schema_id join sys.database_principals p on p.principal_id = o.principal_id where p.name = N'pb_aaaaaaaaaa_g1' and o.is_user_defined = 1
GO
begin transaction;
create user [patchbay] without login with default_schema = [dbo];
declare @mark nvarchar(3750) = N'{"uid":"","generation":0,"connection":"","kind":"owner","name":"","database":"shop"}#' + (select convert(nvarchar(180), p.sid, 1) from sys.database_principals p where p.name = N'patchbay'); exec sys.sp_addextendedproperty @name = N'patchbay', @value = @mark, @level0type = N'USER', @level0name = N'patchbay';
commit transaction
GO
alter authorization on schema::[left_over] to [patchbay]
GO
drop user [pb_aaaaaaaaaa_g1]
GO
declare @mark nvarchar(3750) = N'{"uid":"aaaaaaaaaa","generation":1,"connection":"/subscriptions/s/resourceGroups/g/providers/Microsoft.Web/sites/web/providers/Microsoft.ServiceLinker/linkers/it''s","kind":"kept","name":"pb_aaaaaaaaaa_g1","database":"shop"}#' + (select convert(nvarchar(180), p.sid, 1) from sys.database_principals p where p.name = N'pb_aaaaaaaaaa_g1'); exec sys.sp_updateextendedproperty @name = N'patchbay', @value = @mark, @level0type = N'USER', @level0name = N'pb_aaaaaaaaaa_g1'
GO
select cast(p.name as nvarchar(128)), convert(nvarchar(180), p.sid, 1), cast(x.value as nvarchar(3750)) from sys.database_principals p join sys.extended_properties x on x.class = 4 and x.major_id = p.principal_id and x.minor_id = 0 where x.name = N'patchbay' order by p.principal_id
GO
drop user [pb_aaaaaaaaaa_g1]
GO
drop user [patchbay]
GO
exec sys.sp_releaseapplock @Resource = N'patchbay/pb_aaaaaaaaaa_g1', @LockOwner = N'Session', @DbPrincipal = N'db_owner'
GO

-- it is removed again, and nothing keeps its user
set nocount on; set xact_abort on; set lock_timeout 10000;
select cast(serverproperty('ProductVersion') as nvarchar(128)), cast(serverproperty('EngineEdition') as int), cast(original_login() as nvarchar(128)), cast(user_name() as nvarchar(128)), cast(db_name() as nvarchar(128)), cast(is_rolemember('db_owner') as int);
select cast(d.containment as int), cast(databasepropertyex(d.name, 'Updateability') as nvarchar(128)), cast(d.collation_name as nvarchar(128)), cast(case when d.replica_id is null then 0 else 1 end as int) from sys.databases d where d.name = db_name()
GO
declare @got int; exec @got = sys.sp_getapplock @Resource = N'patchbay/pb_aaaaaaaaaa_g1', @LockOwner = N'Session', @DbPrincipal = N'db_owner', @LockMode = N'Exclusive', @LockTimeout = 10000; select @got
GO
select cast(p.principal_id as int), cast(p.type as nvarchar(4)), cast(p.authentication_type as int), convert(nvarchar(180), p.sid, 1), cast(p.name as nvarchar(128)), cast(x.value as nvarchar(3750)) from sys.database_principals p left join sys.extended_properties x on x.class = 4 and x.major_id = p.principal_id and x.minor_id = 0 and x.name = N'patchbay' where p.name in (N'pb_aaaaaaaaaa_g1', N'patchbay');
select cast(m.class_desc as nvarchar(60)), cast(m.permission_name as nvarchar(128)), cast(m.state as nvarchar(2)), cast(g.name as nvarchar(128)), cast(coalesce(s.name, os.name) as nvarchar(128)), cast(o.name as nvarchar(128)), cast(c.name as nvarchar(128)) from sys.database_permissions m join sys.database_principals p on p.principal_id = m.grantee_principal_id join sys.database_principals g on g.principal_id = m.grantor_principal_id left join sys.schemas s on m.class = 3 and s.schema_id = m.major_id left join sys.objects o on m.class = 1 and o.object_id = m.major_id left join sys.schemas os on os.schema_id = o.schema_id left join sys.columns c on m.class = 1 and c.object_id = m.major_id and c.column_id = m.minor_id where p.name = N'pb_aaaaaaaaaa_g1';
select cast(g.name as nvarchar(128)) from sys.database_role_members m join sys.database_principals g on g.principal_id = m.role_principal_id join sys.database_principals p on p.principal_id = m.member_principal_id where p.name = N'pb_aaaaaaaaaa_g1';
select cast(s.session_id as int), cast(q.command as nvarchar(32)) from sys.dm_exec_sessions s left join sys.dm_exec_requests q on q.session_id = s.session_id where s.is_user_process = 1 and (s.original_security_id = 0x68E2F23946DC5E55E56DCB87F56062F0 or s.original_security_id in (select p.sid from sys.database_principals p where p.name = N'pb_aaaaaaaaaa_g1'))
GO
alter user [pb_aaaaaaaaaa_g1] with password = N'<password>'
GO
select cast(s.session_id as int), cast(q.command as nvarchar(32)) from sys.dm_exec_sessions s left join sys.dm_exec_requests q on q.session_id = s.session_id where s.is_user_process = 1 and (s.original_security_id = 0x68E2F23946DC5E55E56DCB87F56062F0 or s.original_security_id in (select p.sid from sys.database_principals p where p.name = N'pb_aaaaaaaaaa_g1'))
GO
select cast(N'schema' as nvarchar(8)), cast(o.name as nvarchar(128)), cast(N'' as nvarchar(128)) from sys.schemas o join sys.database_principals p on p.principal_id = o.principal_id where p.name = N'pb_aaaaaaaaaa_g1' union all select cast(N'object' as nvarchar(8)), cast(s.name as nvarchar(128)), cast(o.name as nvarchar(128)) from sys.objects o join sys.schemas s on s.schema_id = o.schema_id join sys.database_principals p on p.principal_id = o.principal_id where p.name = N'pb_aaaaaaaaaa_g1' and o.parent_object_id = 0 union all select cast(N'type' as nvarchar(8)), cast(s.name as nvarchar(128)), cast(o.name as nvarchar(128)) from sys.types o join sys.schemas s on s.schema_id = o.schema_id join sys.database_principals p on p.principal_id = o.principal_id where p.name = N'pb_aaaaaaaaaa_g1' and o.is_user_defined = 1
GO
drop user [pb_aaaaaaaaaa_g1]
GO
select cast(p.name as nvarchar(128)), convert(nvarchar(180), p.sid, 1), cast(x.value as nvarchar(3750)) from sys.database_principals p join sys.extended_properties x on x.class = 4 and x.major_id = p.principal_id and x.minor_id = 0 where x.name = N'patchbay' order by p.principal_id
GO
drop user [patchbay]
GO
exec sys.sp_releaseapplock @Resource = N'patchbay/pb_aaaaaaaaaa_g1', @LockOwner = N'Session', @DbPrincipal = N'db_owner'
GO

-- a login with roles is made
set nocount on; set xact_abort on; set lock_timeout 10000;
select cast(serverproperty('ProductVersion') as nvarchar(128)), cast(serverproperty('EngineEdition') as int), cast(original_login() as nvarchar(128)), cast(user_name() as nvarchar(128)), cast(db_name() as nvarchar(128)), cast(is_rolemember('db_owner') as int);
select cast(d.containment as int), cast(databasepropertyex(d.name, 'Updateability') as nvarchar(128)), cast(d.collation_name as nvarchar(128)), cast(case when d.replica_id is null then 0 else 1 end as int) from sys.databases d where d.name = db_name()
GO
declare @got int; exec @got = sys.sp_getapplock @Resource = N'patchbay/pb_aaaaaaaaaa_g1', @LockOwner = N'Session', @DbPrincipal = N'db_owner', @LockMode = N'Exclusive', @LockTimeout = 10000; select @got
GO
select cast(p.principal_id as int), cast(p.type as nvarchar(4)), cast(p.authentication_type as int), convert(nvarchar(180), p.sid, 1), cast(p.name as nvarchar(128)), cast(x.value as nvarchar(3750)) from sys.database_principals p left join sys.extended_properties x on x.class = 4 and x.major_id = p.principal_id and x.minor_id = 0 and x.name = N'patchbay' where p.name in (N'pb_aaaaaaaaaa_g1', N'patchbay');
select cast(m.class_desc as nvarchar(60)), cast(m.permission_name as nvarchar(128)), cast(m.state as nvarchar(2)), cast(g.name as nvarchar(128)), cast(coalesce(s.name, os.name) as nvarchar(128)), cast(o.name as nvarchar(128)), cast(c.name as nvarchar(128)) from sys.database_permissions m join sys.database_principals p on p.principal_id = m.grantee_principal_id join sys.database_principals g on g.principal_id = m.grantor_principal_id left join sys.schemas s on m.class = 3 and s.schema_id = m.major_id left join sys.objects o on m.class = 1 and o.object_id = m.major_id left join sys.schemas os on os.schema_id = o.schema_id left join sys.columns c on m.class = 1 and c.object_id = m.major_id and c.column_id = m.minor_id where p.name = N'pb_aaaaaaaaaa_g1';
select cast(g.name as nvarchar(128)) from sys.database_role_members m join sys.database_principals g on g.principal_id = m.role_principal_id join sys.database_principals p on p.principal_id = m.member_principal_id where p.name = N'pb_aaaaaaaaaa_g1';
select cast(s.session_id as int), cast(q.command as nvarchar(32)) from sys.dm_exec_sessions s left join sys.dm_exec_requests q on q.session_id = s.session_id where s.is_user_process = 1 and (s.original_security_id = 0x68E2F23946DC5E55E56DCB87F56062F0 or s.original_security_id in (select p.sid from sys.database_principals p where p.name = N'pb_aaaaaaaaaa_g1'))
GO
begin transaction;
create user [pb_aaaaaaaaaa_g1] with password = N'<password>', default_schema = [dbo];
declare @mark nvarchar(3750) = N'{"uid":"aaaaaaaaaa","generation":1,"connection":"/subscriptions/s/resourceGroups/g/providers/Microsoft.Web/sites/web/providers/Microsoft.ServiceLinker/linkers/it''s","kind":"user","name":"pb_aaaaaaaaaa_g1","database":"shop"}#' + (select convert(nvarchar(180), p.sid, 1) from sys.database_principals p where p.name = N'pb_aaaaaaaaaa_g1'); exec sys.sp_addextendedproperty @name = N'patchbay', @value = @mark, @level0type = N'USER', @level0name = N'pb_aaaaaaaaaa_g1';
commit transaction
GO
select cast(p.principal_id as int), cast(p.type as nvarchar(4)), cast(p.authentication_type as int), convert(nvarchar(180), p.sid, 1), cast(p.name as nvarchar(128)), cast(x.value as nvarchar(3750)) from sys.database_principals p left join sys.extended_properties x on x.class = 4 and x.major_id = p.principal_id and x.minor_id = 0 and x.name = N'patchbay' where p.name in (N'pb_aaaaaaaaaa_g1', N'patchbay');
select cast(m.class_desc as nvarchar(60)), cast(m.permission_name as nvarchar(128)), cast(m.state as nvarchar(2)), cast(g.name as nvarchar(128)), cast(coalesce(s.name, os.name) as nvarchar(128)), cast(o.name as nvarchar(128)), cast(c.name as nvarchar(128)) from sys.database_permissions m join sys.database_principals p on p.principal_id = m.grantee_principal_id join sys.database_principals g on g.principal_id = m.grantor_principal_id left join sys.schemas s on m.class = 3 and s.schema_id = m.major_id left join sys.objects o on m.class = 1 and o.object_id = m.major_id left join sys.schemas os on os.schema_id = o.schema_id left join sys.columns c on m.class = 1 and c.object_id = m.major_id and c.column_id = m.minor_id where p.name = N'pb_aaaaaaaaaa_g1';
select cast(g.name as nvarchar(128)) from sys.database_role_members m join sys.database_principals g on g.principal_id = m.role_principal_id join sys.database_principals p on p.principal_id = m.member_principal_id where p.name = N'pb_aaaaaaaaaa_g1';
select cast(s.session_id as int), cast(q.command as nvarchar(32)) from sys.dm_exec_sessions s left join sys.dm_exec_requests q on q.session_id = s.session_id where s.is_user_process = 1 and (s.original_security_id = 0x68E2F23946DC5E55E56DCB87F56062F0 or s.original_security_id in (select p.sid from sys.database_principals p where p.name = N'pb_aaaaaaaaaa_g1'))
GO
alter role [db_datareader] add member [pb_aaaaaaaaaa_g1]
GO
select cast(p.principal_id as int), cast(p.type as nvarchar(4)), cast(p.authentication_type as int), convert(nvarchar(180), p.sid, 1), cast(p.name as nvarchar(128)), cast(x.value as nvarchar(3750)) from sys.database_principals p left join sys.extended_properties x on x.class = 4 and x.major_id = p.principal_id and x.minor_id = 0 and x.name = N'patchbay' where p.name in (N'pb_aaaaaaaaaa_g1', N'patchbay');
select cast(m.class_desc as nvarchar(60)), cast(m.permission_name as nvarchar(128)), cast(m.state as nvarchar(2)), cast(g.name as nvarchar(128)), cast(coalesce(s.name, os.name) as nvarchar(128)), cast(o.name as nvarchar(128)), cast(c.name as nvarchar(128)) from sys.database_permissions m join sys.database_principals p on p.principal_id = m.grantee_principal_id join sys.database_principals g on g.principal_id = m.grantor_principal_id left join sys.schemas s on m.class = 3 and s.schema_id = m.major_id left join sys.objects o on m.class = 1 and o.object_id = m.major_id left join sys.schemas os on os.schema_id = o.schema_id left join sys.columns c on m.class = 1 and c.object_id = m.major_id and c.column_id = m.minor_id where p.name = N'pb_aaaaaaaaaa_g1';
select cast(g.name as nvarchar(128)) from sys.database_role_members m join sys.database_principals g on g.principal_id = m.role_principal_id join sys.database_principals p on p.principal_id = m.member_principal_id where p.name = N'pb_aaaaaaaaaa_g1';
select cast(s.session_id as int), cast(q.command as nvarchar(32)) from sys.dm_exec_sessions s left join sys.dm_exec_requests q on q.session_id = s.session_id where s.is_user_process = 1 and (s.original_security_id = 0x68E2F23946DC5E55E56DCB87F56062F0 or s.original_security_id in (select p.sid from sys.database_principals p where p.name = N'pb_aaaaaaaaaa_g1'))
GO
exec sys.sp_releaseapplock @Resource = N'patchbay/pb_aaaaaaaaaa_g1', @LockOwner = N'Session', @DbPrincipal = N'db_owner'
GO

-- a reader's rights are tried
set nocount on; set xact_abort on; set lock_timeout 10000;
select cast(serverproperty('ProductVersion') as nvarchar(128)), cast(serverproperty('EngineEdition') as int), cast(original_login() as nvarchar(128)), cast(user_name() as nvarchar(128)), cast(db_name() as nvarchar(128)), cast(is_rolemember('db_owner') as int);
select cast(d.containment as int), cast(databasepropertyex(d.name, 'Updateability') as nvarchar(128)), cast(d.collation_name as nvarchar(128)), cast(case when d.replica_id is null then 0 else 1 end as int) from sys.databases d where d.name = db_name()
GO
declare @got int; exec @got = sys.sp_getapplock @Resource = N'patchbay/pb_aaaaaaaaaa_g1', @LockOwner = N'Session', @DbPrincipal = N'db_owner', @LockMode = N'Exclusive', @LockTimeout = 10000; select @got
GO
select cast(p.principal_id as int), cast(p.type as nvarchar(4)), cast(p.authentication_type as int), convert(nvarchar(180), p.sid, 1), cast(p.name as nvarchar(128)), cast(x.value as nvarchar(3750)) from sys.database_principals p left join sys.extended_properties x on x.class = 4 and x.major_id = p.principal_id and x.minor_id = 0 and x.name = N'patchbay' where p.name in (N'pb_aaaaaaaaaa_g1', N'patchbay');
select cast(m.class_desc as nvarchar(60)), cast(m.permission_name as nvarchar(128)), cast(m.state as nvarchar(2)), cast(g.name as nvarchar(128)), cast(coalesce(s.name, os.name) as nvarchar(128)), cast(o.name as nvarchar(128)), cast(c.name as nvarchar(128)) from sys.database_permissions m join sys.database_principals p on p.principal_id = m.grantee_principal_id join sys.database_principals g on g.principal_id = m.grantor_principal_id left join sys.schemas s on m.class = 3 and s.schema_id = m.major_id left join sys.objects o on m.class = 1 and o.object_id = m.major_id left join sys.schemas os on os.schema_id = o.schema_id left join sys.columns c on m.class = 1 and c.object_id = m.major_id and c.column_id = m.minor_id where p.name = N'pb_aaaaaaaaaa_g1';
select cast(g.name as nvarchar(128)) from sys.database_role_members m join sys.database_principals g on g.principal_id = m.role_principal_id join sys.database_principals p on p.principal_id = m.member_principal_id where p.name = N'pb_aaaaaaaaaa_g1';
select cast(s.session_id as int), cast(q.command as nvarchar(32)) from sys.dm_exec_sessions s left join sys.dm_exec_requests q on q.session_id = s.session_id where s.is_user_process = 1 and (s.original_security_id = 0x68E2F23946DC5E55E56DCB87F56062F0 or s.original_security_id in (select p.sid from sys.database_principals p where p.name = N'pb_aaaaaaaaaa_g1'))
GO
alter user [pb_aaaaaaaaaa_g1] with password = N'<password>'
GO
select cast(p.principal_id as int), cast(p.type as nvarchar(4)), cast(p.authentication_type as int), convert(nvarchar(180), p.sid, 1), cast(p.name as nvarchar(128)), cast(x.value as nvarchar(3750)) from sys.database_principals p left join sys.extended_properties x on x.class = 4 and x.major_id = p.principal_id and x.minor_id = 0 and x.name = N'patchbay' where p.name in (N'pb_aaaaaaaaaa_g1', N'patchbay');
select cast(m.class_desc as nvarchar(60)), cast(m.permission_name as nvarchar(128)), cast(m.state as nvarchar(2)), cast(g.name as nvarchar(128)), cast(coalesce(s.name, os.name) as nvarchar(128)), cast(o.name as nvarchar(128)), cast(c.name as nvarchar(128)) from sys.database_permissions m join sys.database_principals p on p.principal_id = m.grantee_principal_id join sys.database_principals g on g.principal_id = m.grantor_principal_id left join sys.schemas s on m.class = 3 and s.schema_id = m.major_id left join sys.objects o on m.class = 1 and o.object_id = m.major_id left join sys.schemas os on os.schema_id = o.schema_id left join sys.columns c on m.class = 1 and c.object_id = m.major_id and c.column_id = m.minor_id where p.name = N'pb_aaaaaaaaaa_g1';
select cast(g.name as nvarchar(128)) from sys.database_role_members m join sys.database_principals g on g.principal_id = m.role_principal_id join sys.database_principals p on p.principal_id = m.member_principal_id where p.name = N'pb_aaaaaaaaaa_g1';
select cast(s.session_id as int), cast(q.command as nvarchar(32)) from sys.dm_exec_sessions s left join sys.dm_exec_requests q on q.session_id = s.session_id where s.is_user_process = 1 and (s.original_security_id = 0x68E2F23946DC5E55E56DCB87F56062F0 or s.original_security_id in (select p.sid from sys.database_principals p where p.name = N'pb_aaaaaaaaaa_g1'))
GO
grant SELECT to [pb_aaaaaaaaaa_g1]
GO
select cast(p.principal_id as int), cast(p.type as nvarchar(4)), cast(p.authentication_type as int), convert(nvarchar(180), p.sid, 1), cast(p.name as nvarchar(128)), cast(x.value as nvarchar(3750)) from sys.database_principals p left join sys.extended_properties x on x.class = 4 and x.major_id = p.principal_id and x.minor_id = 0 and x.name = N'patchbay' where p.name in (N'pb_aaaaaaaaaa_g1', N'patchbay');
select cast(m.class_desc as nvarchar(60)), cast(m.permission_name as nvarchar(128)), cast(m.state as nvarchar(2)), cast(g.name as nvarchar(128)), cast(coalesce(s.name, os.name) as nvarchar(128)), cast(o.name as nvarchar(128)), cast(c.name as nvarchar(128)) from sys.database_permissions m join sys.database_principals p on p.principal_id = m.grantee_principal_id join sys.database_principals g on g.principal_id = m.grantor_principal_id left join sys.schemas s on m.class = 3 and s.schema_id = m.major_id left join sys.objects o on m.class = 1 and o.object_id = m.major_id left join sys.schemas os on os.schema_id = o.schema_id left join sys.columns c on m.class = 1 and c.object_id = m.major_id and c.column_id = m.minor_id where p.name = N'pb_aaaaaaaaaa_g1';
select cast(g.name as nvarchar(128)) from sys.database_role_members m join sys.database_principals g on g.principal_id = m.role_principal_id join sys.database_principals p on p.principal_id = m.member_principal_id where p.name = N'pb_aaaaaaaaaa_g1';
select cast(s.session_id as int), cast(q.command as nvarchar(32)) from sys.dm_exec_sessions s left join sys.dm_exec_requests q on q.session_id = s.session_id where s.is_user_process = 1 and (s.original_security_id = 0x68E2F23946DC5E55E56DCB87F56062F0 or s.original_security_id in (select p.sid from sys.database_principals p where p.name = N'pb_aaaaaaaaaa_g1'))
GO
exec sys.sp_releaseapplock @Resource = N'patchbay/pb_aaaaaaaaaa_g1', @LockOwner = N'Session', @DbPrincipal = N'db_owner'
GO
set nocount on; set xact_abort on; set lock_timeout 10000;
select cast(serverproperty('ProductVersion') as nvarchar(128)), cast(serverproperty('EngineEdition') as int), cast(original_login() as nvarchar(128)), cast(user_name() as nvarchar(128)), cast(db_name() as nvarchar(128)), cast(is_rolemember('db_owner') as int);
select cast(d.containment as int), cast(databasepropertyex(d.name, 'Updateability') as nvarchar(128)), cast(d.collation_name as nvarchar(128)), cast(case when d.replica_id is null then 0 else 1 end as int) from sys.databases d where d.name = db_name()
GO
select cast(has_perms_by_name(quotename(db_name()), N'DATABASE', N'CONNECT') as int), cast(has_perms_by_name(quotename(db_name()), N'DATABASE', N'SELECT') as int), cast(has_perms_by_name(quotename(db_name()), N'DATABASE', N'INSERT') as int), cast(has_perms_by_name(quotename(db_name()), N'DATABASE', N'UPDATE') as int), cast(has_perms_by_name(quotename(db_name()), N'DATABASE', N'DELETE') as int), cast(has_perms_by_name(quotename(db_name()), N'DATABASE', N'EXECUTE') as int), cast(has_perms_by_name(quotename(db_name()), N'DATABASE', N'ALTER ANY SCHEMA') as int), cast(has_perms_by_name(quotename(db_name()), N'DATABASE', N'CREATE FUNCTION') as int), cast(has_perms_by_name(quotename(db_name()), N'DATABASE', N'CREATE PROCEDURE') as int), cast(has_perms_by_name(quotename(db_name()), N'DATABASE', N'CREATE SCHEMA') as int), cast(has_perms_by_name(quotename(db_name()), N'DATABASE', N'CREATE SYNONYM') as int), cast(has_perms_by_name(quotename(db_name()), N'DATABASE', N'CREATE TABLE') as int), cast(has_perms_by_name(quotename(db_name()), N'DATABASE', N'CREATE TYPE') as int), cast(has_perms_by_name(quotename(db_name()), N'DATABASE', N'CREATE VIEW') as int), cast(has_perms_by_name(quotename(db_name()), N'DATABASE', N'REFERENCES') as int), cast(has_perms_by_name(quotename(db_name()), N'DATABASE', N'VIEW DEFINITION') as int), cast(has_perms_by_name(quotename(db_name()), N'DATABASE', N'CONTROL') as int), cast(has_perms_by_name(quotename(db_name()), N'DATABASE', N'ALTER') as int), cast(has_perms_by_name(quotename(db_name()), N'DATABASE', N'TAKE OWNERSHIP') as int), cast(has_perms_by_name(quotename(db_name()), N'DATABASE', N'ALTER ANY USER') as int), cast(has_perms_by_name(quotename(db_name()), N'DATABASE', N'ALTER ANY ROLE') as int), cast(has_perms_by_name(quotename(db_name()), N'DATABASE', N'ALTER ANY APPLICATION ROLE') as int), cast(has_perms_by_name(quotename(db_name()), N'DATABASE', N'ALTER ANY ASSEMBLY') as int), cast(has_perms_by_name(quotename(db_name()), N'DATABASE', N'ALTER ANY CERTIFICATE') as int), cast(has_perms_by_name(quotename(db_name()), N'DATABASE', N'ALTER ANY DATABASE DDL TRIGGER') as int), cast(has_perms_by_name(quotename(db_name()), N'DATABASE', N'BACKUP DATABASE') as int), cast(has_perms_by_name(quotename(db_name()), N'DATABASE', N'CREATE ROLE') as int)
GO
select cast(d.name as nvarchar(128)) from sys.databases d where has_dbaccess(d.name) = 1 and d.name <> db_name() and d.name not in (N'master', N'tempdb', N'model', N'msdb') order by d.name
GO

